"""The simulation of the whole gateway at the size of a pull request (T-20, T-21, T-22; H-1 to H-9, I-01 to I-13).

`make nightly` runs the long ones. A seed that fails here names itself: `make chaos SEED=n` replays it, made small.
"""

import gc
import os
from dataclasses import replace
from inspect import iscoroutine

import pytest

from tests.faults.runs import Figures, commit, hashes, hush, run_many
from tests.faults.swarm import CLASSES, Act, make_plan
from tests.faults.sweep import SCENARIOS, Case, crash_at, points
from tests.faults.telling import told
from tests.faults.world import Outcome, World, run_plan

FIRST = int(os.environ.get("KOPITRA_FIRST_SEED", "1"))
SEEDS = int(os.environ.get("KOPITRA_SEEDS", "500"))
#: every n-th step of the crash sweep
EVERY = int(os.environ.get("KOPITRA_SWEEP_EVERY", "40"))


@pytest.mark.timeout(900)
def test_no_seed_breaks_an_invariant() -> None:
    """T-20, H-4 to H-7: swarms of faults, invariants judged by the ledger while it is chaos and after the healing."""
    figures = Figures(commit(), "T-20", FIRST)
    failed: list[Outcome] = []
    for outcome in run_many(range(FIRST, FIRST + SEEDS), jobs=2):
        figures.take(outcome)
        if outcome.violations:
            failed.append(outcome)
    summary = {name: len(seeds) for name, seeds in figures.broken.items()}
    assert not failed, f"{len(failed)} of {SEEDS} seeds: {summary}\n{told(failed[0])}"
    assert figures.placements > SEEDS  # a simulation in which nothing happens proves nothing
    assert len(figures.faults) >= 20


def test_a_world_ends_whole_and_leaves_nothing_half_done_to_the_garbage_collector() -> None:
    """Seed 2 kills and replaces its gateway: what the dead were doing is ended with the world."""
    hush()
    assert not run_plan(make_plan(2)).violations
    left = [x.__qualname__ for x in gc.get_objects() if iscoroutine(x) and x.cr_frame is not None]
    assert not [name for name in left if name.startswith(("RudeSession.", "SessionRunner."))]


@pytest.mark.timeout(300)
def test_the_same_seed_is_the_same_run() -> None:
    """T-21: traces of 50 seeds, made by two interpreters that hash differently, are equal to the last byte."""
    once, again = hashes(FIRST, 50, 1), hashes(FIRST, 50, 2)
    assert len(once) == 50
    assert len(set(once)) > 45
    assert once == again


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_crash_at_any_step_changes_nothing(name: str) -> None:
    """T-22, R-022: killed before every n-th step of a small scenario, restarted, judged."""
    for step in range(1 + FIRST % EVERY, points(name) + 1, EVERY):
        outcome = crash_at(Case(name, step))
        assert not outcome.violations, f"{name}, killed before step {step}: {outcome.violations}"


def test_a_polite_world_is_boring() -> None:
    """Without faults every act is copied and nothing is left: otherwise the harness itself is wrong."""
    hush()
    for seed in range(1, 11):
        outcome = run_plan(make_plan(seed, frozenset()))
        assert not outcome.violations
        assert outcome.quiet_s <= 2
        assert not outcome.faults


def test_every_kind_of_fault_is_really_injected() -> None:
    """H-5: a class that is on leaves its mark, else the swarm fools itself."""
    hush()
    silent = {
        "slow",
        "lag",
        "partial",
        "busy",
        "budget",
        "slow_database",
        "skew",
        "client",
        "switches",
        "shuffle",
    }
    for name in sorted(set(CLASSES) - silent):
        seen = sum(sum(run_plan(make_plan(seed, frozenset({name}))).faults.values()) for seed in range(1, 5))
        assert seen, name


def _repeat(world: World) -> None:
    for broker in world.brokers:
        broker.repeats = True


def test_a_doubled_order_is_seen() -> None:
    """H-4: the checkers see a broker that is asked twice; a harness that cannot fail proves nothing."""
    hush()
    plan = replace(make_plan(3, frozenset()), acts=(Act(1.0, "trade"), Act(2.0, "trade")), chaos_s=3.0)
    outcome = run_plan(plan, sabotage=_repeat)
    assert any(violation.invariant == "I-01" for violation in outcome.violations)
