from itertools import product
from typing import get_args

import pytest

from brokers._kit.session_state import TRANSITIONS, IllegalTransition, StateHolder
from kopitra.ports import SessionState

STATES: tuple[SessionState, ...] = get_args(SessionState)
WAY: tuple[SessionState, ...] = ("connecting", "logging_in", "reconciling", "live", "draining", "closed")


def holder_in(state: SessionState) -> StateHolder:
    way: list[SessionState] = (
        [] if state == "closed" else list(WAY[: WAY.index(state) + 1]) if state in WAY else []
    )
    if state == "backoff":
        way = ["connecting", "backoff"]
    holder = StateHolder(lambda _state, _reason, _fatal: None)
    for step in way:
        holder.move(step)
    assert holder.state == state
    return holder


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(STATES)


@pytest.mark.parametrize("start, to", list(product(STATES, STATES)))
def test_only_what_the_table_contains_is_possible(start: SessionState, to: SessionState) -> None:
    holder = holder_in(start)
    if to in TRANSITIONS[start]:
        holder.move(to)
        assert holder.state == to
    else:
        with pytest.raises(IllegalTransition, match=f"from {start} to {to}"):
            holder.move(to)
        assert holder.state == start


def test_every_state_can_reach_closed_and_only_live_takes_placements() -> None:
    for state in STATES:
        assert state == "closed" or "closed" in TRANSITIONS[state]
        assert holder_in(state).takes_placements == (state == "live")
        assert holder_in(state).takes_cancels == (state in ("live", "draining"))


def test_nothing_goes_live_without_reconciling() -> None:
    assert [state for state in STATES if "live" in TRANSITIONS[state]] == ["reconciling"]


def test_each_move_is_told_with_its_reason() -> None:
    told: list[tuple[SessionState, str, bool]] = []
    holder = StateHolder(lambda state, reason, fatal: told.append((state, reason, fatal)))
    holder.move("connecting", "start")
    holder.move("closed", "wrong password", fatal=True)
    assert told == [("connecting", "start", False), ("closed", "wrong password", True)]
