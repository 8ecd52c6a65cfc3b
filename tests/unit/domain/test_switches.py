"""Kill switches by scope, allowed hours, and ids that never change."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.ids import CL_ORD_ID_LENGTH_MAX, cl_ord_id, is_own, list_id
from kopitra.domain.limits import TradingWindow
from kopitra.domain.switches import Covered, KillSwitch, SwitchBoard, SwitchScope, SwitchState, worst

COVERED = Covered("w", "L", "b", "a1")
SCOPES: list[tuple[SwitchScope, str]] = [
    ("global", ""),
    ("workspace", "w"),
    ("leader", "L"),
    ("broker", "b"),
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
