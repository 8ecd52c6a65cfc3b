"""The life of a child order: every (state, event) pair, and what a report asks for."""

from decimal import Decimal
from itertools import product
from typing import get_args

import pytest

from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus
from kopitra.domain.orders import (
    LIVE,
    TERMINAL,
    TRANSITIONS,
    Event,
    IllegalTransition,
    OrderIntent,
    State,
    event_of,
    next_state,
)
from tests.unit.domain.copy_world import World, d, rule

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)

# rows: states; columns in the order of EVENTS; "-" is illegal
TABLE = """
.          claim   skip    ack      work     fill     complete cancel   expire   reject   doubt      absent     park   hold
planned    claimed skipped -        -        -        -        -        -        -        in_doubt   -          -      -
claimed    -       skipped acked    working  partial  filled   canceled expired  rejected in_doubt   -          -      -
acked      -       -       acked    working  partial  filled   canceled expired  rejected acked      -          -      -
working    -       -       working  working  partial  filled   canceled expired  rejected working    -          -      -
partial    -       -       partial  partial  partial  filled   canceled expired  canceled partial    -          -      -
filled     -       -       filled   filled   partial  filled   filled   filled   -        filled     -          -      -
canceled   -       -       canceled canceled canceled filled   canceled canceled canceled canceled   -          -      -
expired    -       -       expired  expired  expired  filled   expired  expired  expired  expired    -          -      -
rejected   -       -       rejected rejected canceled filled   rejected rejected rejected rejected   -          -      -
in_doubt   -       -       acked    working  partial  filled   canceled expired  rejected in_doubt   not_placed parked planned
not_placed claimed -       acked    working  partial  filled   canceled expired  rejected not_placed -          -      -
parked     -       -       acked    working  partial  filled   canceled expired  rejected parked     not_placed -      planned
skipped    -       skipped -        -        -        -        -        -        -        -          -          -      -
"""  # noqa: E501


def _table() -> dict[tuple[str, str], str]:
    (_, *head), *rows = [line.split() for line in TABLE.strip().splitlines()]
    assert head == list(EVENTS)
    assert sorted(row[0] for row in rows) == sorted(STATES)
    return {(row[0], event): cell for row in rows for event, cell in zip(head, row[1:], strict=True)}


EXPECTED = _table()


@pytest.mark.parametrize("state, event", list(product(STATES, EVENTS)))
def test_each_pair_does_what_the_table_says_r_001(state: State, event: Event) -> None:
    """R-001: the table is the only way; what it does not name raises."""
    expected = EXPECTED[state, event]
    if expected == "-":
        with pytest.raises(IllegalTransition, match=f"{state} cannot {event}"):
            next_state(state, event)
    else:
        assert next_state(state, event) == expected


def test_the_table_names_nothing_else() -> None:
    assert set(TRANSITIONS) == {pair for pair, cell in EXPECTED.items() if cell != "-"}


def test_a_state_is_over_or_live_or_waits_to_be_sent() -> None:
    assert not TERMINAL & LIVE
    assert set(STATES) - TERMINAL - LIVE == {"planned"}


def test_only_a_state_without_a_byte_can_be_skipped_r_002() -> None:
    assert {s for s in STATES if TRANSITIONS.get((s, "skip")) == "skipped"} == {
        "planned",
        "claimed",
        "skipped",
    }


def test_evidence_wins_over_every_doubt() -> None:
    for state in ("in_doubt", "parked", "not_placed"):
        assert next_state(state, "complete") == "filled"


EXEC_TYPES: tuple[ExecType, ...] = get_args(ExecType)
STATUSES: tuple[OrdStatus, ...] = get_args(OrdStatus)


@pytest.mark.parametrize("exec_type, status", list(product(EXEC_TYPES, STATUSES)))
def test_no_status_alone_ever_fills(exec_type: ExecType, status: OrdStatus) -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.report(world.child(), exec_type, status, cum_qty=d(2), order_qty=d(2))
    assert world.child().cum_qty == 0
    assert world.held() == 0
    assert world.child().state not in ("filled", "partial")


def test_a_filled_status_ends_an_order_whose_executions_are_all_known() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990))
    child = world.child()
    world.accept(child)
    world.fill(child, d(1))
    world.report(child, "replaced", "partially_filled", order_qty=d(1))
    world.report(child, "order_status", "filled")
    assert child.state == "filled"


def test_a_larger_quantity_told_after_its_fills_opens_the_order_again() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990))
    child = world.child()
    world.fill(child, d(1))
    assert child.state == "filled"
    world.report(child, "replaced", "partially_filled", order_qty=d(3))
    assert (child.state, child.leaves_qty) == ("partial", d(2))
    assert child in world.book.open_children("a1", "L")


def test_every_event_of_a_report_is_known() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    order = world.child()
    for exec_type, status in product(EXEC_TYPES, STATUSES):
        world.report(order, "pending_new", "pending_new")
        found = event_of(ExecutionReport("a1", "b", exec_type, status, "ESZ6", "buy", world.now), order)
        assert found is None or found in EVENTS


@pytest.mark.parametrize(
    "leader, role, lane",
    [
        ("L", "entry", "entry"),
        ("L", "exit", "exit"),
        ("L", "stop", "protective"),
        ("L", "target", "protective"),
        ("", "exit", "flatten"),
    ],
)
def test_a_lane_follows_from_leader_and_role(leader: str, role: str, lane: str) -> None:
    intent = OrderIntent("c", "l", "a", leader, "x", role, "ESZ6", "buy", Decimal(1))  # pyright: ignore[reportArgumentType]
    assert intent.lane == lane
