"""Kill switches by scope, allowed hours, and ids that never change."""

from datetime import UTC, datetime
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.ids import CL_ORD_ID_LENGTH_MAX, cl_ord_id, is_own, list_id
from kopitra.domain.limits import TradingWindow
from kopitra.domain.switches import (
    Covered,
    KillSwitch,
    SwitchBoard,
    SwitchScope,
    SwitchState,
    agreed,
    broker_in,
    broker_of,
    strictness,
    worst,
)

COVERED = Covered("w", "L", "b", "a1")
SCOPES: list[tuple[SwitchScope, str]] = [
    ("global", ""),
    ("workspace", "w"),
    ("leader", "L"),
    ("broker", "b"),
    ("broker", "w/b"),
    ("account", "a1"),
]
STATES: list[SwitchState] = ["active", "reducing", "halted"]


@pytest.mark.parametrize("scope, state", list(product(SCOPES, STATES)))
def test_each_scope_stops_what_it_covers(scope: tuple[SwitchScope, str], state: SwitchState) -> None:
    board = SwitchBoard()
    assert board.set(KillSwitch(*scope, state, epoch=1))
    assert board.effective(COVERED) == state
    if scope[1]:
        assert board.effective(Covered("w2", "L2", "b2", "a2")) == "active"


@given(st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from(STATES)), max_size=8))
def test_the_most_restrictive_counts(changes: list[tuple[tuple[SwitchScope, str], SwitchState]]) -> None:
    board = SwitchBoard()
    for epoch, (scope, state) in enumerate(changes, start=1):
        board.set(KillSwitch(*scope, state, epoch=epoch))
    assert board.effective(COVERED) == worst(dict(changes).values())


def test_an_older_change_never_overwrites_a_newer_one() -> None:
    board = SwitchBoard()
    board.set(KillSwitch("global", "", "halted", epoch=2))
    assert not board.set(KillSwitch("global", "", "active", epoch=1))
    assert board.effective(COVERED) == "halted"


CHANGES = st.builds(
    KillSwitch,
    st.just("account"),
    st.just("a1"),
    st.sampled_from(STATES),
    st.sampled_from(["news", "over"]),
    st.sampled_from(["ann", "bob"]),
    st.integers(1, 4),
    st.booleans(),
)


@given(CHANGES, CHANGES)
def test_two_changes_that_did_not_know_of_each_other_end_in_the_stricter_everywhere(
    one: KillSwitch, other: KillSwitch
) -> None:
    """R-091, P6: whichever board holds which of them, the agreement is taken, and it is never weaker than either."""
    result = agreed(one, other)
    assert strictness(result) == max(strictness(one), strictness(other)) == strictness(agreed(other, one))
    for known in (one, other):
        board = SwitchBoard()
        board.set(known)
        board.set(result)
        assert strictness(board.get("account", "a1")) == strictness(result)
        assert board.epoch("account", "a1") == result.epoch >= max(one.epoch, other.epoch)


@given(st.lists(CHANGES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_in_which_changes_are_heard_decides_nothing(
    changes: list[KillSwitch], shuffled: Random
) -> None:
    """R-091: the newest counts, of equally new ones the strictest."""
    boards = [SwitchBoard(), SwitchBoard()]
    for change in changes:
        boards[0].set(change)
    shuffled.shuffle(changes)
    for change in changes:
        boards[1].set(change)
    newest = max(change.epoch for change in changes)
    strictest = max(strictness(change) for change in changes if change.epoch == newest)
    assert {strictness(board.get("account", "a1")) for board in boards} == {strictest}


@given(st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from(STATES)), min_size=1, max_size=12))
def test_lifting_one_switch_never_lifts_another(
    changes: list[tuple[tuple[SwitchScope, str], SwitchState]],
) -> None:
    """R-091, P6: an account is held by each switch that stands over it, whoever set it."""
    board = SwitchBoard()
    for epoch, (scope, state) in enumerate(changes, start=1):
        board.set(KillSwitch(*scope, state, epoch=epoch))
    (lifted, _), before = changes[0], dict(changes)
    board.set(KillSwitch(*lifted, "active", epoch=99))
    assert board.effective(COVERED) == worst(state for scope, state in before.items() if scope != lifted)


def test_a_broker_is_stopped_in_one_workspace_or_in_all() -> None:
    """R-091: the neighbours go on."""
    board = SwitchBoard()
    board.set(KillSwitch("broker", broker_in("w", "b"), "halted", epoch=1))
    assert board.effective(COVERED) == "halted"
    assert board.effective(Covered("w2", "L2", "b", "a2")) == "active"
    assert broker_of(broker_in("w", "b")) == ("w", "b")
    assert broker_of("b") == ("", "b")


@pytest.mark.parametrize("lifting, enough", [(False, True), (True, False)])
def test_what_ends_by_itself_is_less_than_reducing(lifting: bool, enough: bool) -> None:
    board = SwitchBoard()
    board.set(KillSwitch("account", "a1", "reducing", epoch=1, lifting=lifting))
    assert board.is_at_least("account", "a1", "reducing") is enough
    assert not board.is_at_least("account", "a1", "halted")


@pytest.mark.parametrize(
    "day, hour, minute, is_open",
    [(20, 14, 29, False), (20, 14, 30, True), (20, 20, 59, True), (20, 21, 0, False), (21, 15, 0, False)],
)
def test_a_window_is_open_from_its_start_to_before_its_end(
    day: int, hour: int, minute: int, is_open: bool
) -> None:
    window = TradingWindow((0, 1, 2, 3, 4), 8 * 60 + 30, 15 * 60)  # 08:30 to 15:00 in Chicago
    assert window.is_open(datetime(2026, 11, day, hour, minute, tzinfo=UTC)) is is_open


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    window = TradingWindow((4,), 22 * 60, 2 * 60, "UTC")  # Friday night
    asked = [
        datetime(2026, 11, day, hour, tzinfo=UTC)
        for day, hour in ((20, 1), (20, 22), (21, 1), (21, 2), (21, 22))
    ]
    assert [window.is_open(at) for at in asked] == [False, True, True, False, False]


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.sampled_from(["e", "s", "t12", "x", "x1", "p", "g123", "z9t12", "c32-11"]),
)
def test_a_name_is_short_safe_and_the_same_for_ever(signal_id: str, account_id: str, leg: str) -> None:
    """R-005."""
    name = cl_ord_id(list_id("w", signal_id), account_id, leg)
    assert name == cl_ord_id(list_id("w", signal_id), account_id, leg)
    assert len(name) <= CL_ORD_ID_LENGTH_MAX
    assert is_own(name)
    assert is_own(name + "-tp")


def test_a_name_is_what_it_was_when_the_journal_was_begun() -> None:
    assert cl_ord_id(list_id("w", "s1"), "a1", "e") == "kp5f76ead491c3d1ec0162-e"


def test_foreign_names_are_not_ours() -> None:
    assert not is_own(None)
    assert not is_own("EA-17")
