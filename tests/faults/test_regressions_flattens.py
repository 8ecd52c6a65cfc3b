"""Flattens that a simulation has to see: asked for twice, beside a leader's exit, handed over, among slow fills."""

from dataclasses import replace

import pytest

from tests.faults.directed import small
from tests.faults.house import EA_LEADER
from tests.faults.runs import hush
from tests.faults.swarm import Act, Trouble
from tests.faults.world import run_plan

#: of one account, and of the same one a moment later
TWICE = Trouble(6.0, "flatten", 0.5, 0.4)


@pytest.mark.parametrize("fill_delay_ms", [20, 400, 3_000])
def test_two_flattens_and_a_leaders_exit_close_once(fill_delay_ms: int) -> None:
    """R-012, R-094, R-095, R-102: one close for the flattened account, one exit for each of the others."""
    hush()
    acts = (Act(0.5, "trade", "ES", 2), Act(6.1, "exit", "ES", 1))
    base = small(EA_LEADER, acts, (TWICE,), chaos_s=12.0)
    slow = tuple(replace(m, fill_delay_ms=fill_delay_ms) for m in base.manners)
    outcome = run_plan(replace(base, manners=slow))
    assert [v.invariant for v in outcome.violations] == []
    assert outcome.faults["flatten"] == 1
    assert outcome.placements == 3 + 3


def test_a_successor_closes_nothing_by_a_list_that_lags_behind_its_start() -> None:
    """R-004, R-094, R-095: what its predecessor's close filled is in its book, and not yet in the broker's lists."""
    hush()
    acts = (Act(0.5, "trade", "ES", 3),)
    troubles = (Trouble(8.0, "flatten", 0.0, 0.4), Trouble(9.2, "hand_over"))
    base = small(EA_LEADER, acts, troubles, chaos_s=16.0)
    late = tuple(replace(m, fill_delay_ms=20, liquidity_qty=1, lag_s=2.9) for m in base.manners)
    outcome = run_plan(replace(base, manners=late))
    assert [v.invariant for v in outcome.violations] == []
    assert outcome.placements == 3 + 1 + 2  # the others go with their leader at the end
