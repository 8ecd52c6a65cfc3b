"""The crash sweep: five small scenarios, killed before every n-th step, restarted, judged (T-22, R-022)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from tests.faults.house import BOSS_LEADER, EA_LEADER
from tests.faults.runs import brief, hush, shared
from tests.faults.swarm import Act, Plan, make_plan
from tests.faults.world import Outcome, run_plan

#: name -> what happens in it; times in seconds
SCENARIOS: Final[dict[str, tuple[Act, ...]]] = {
    "in and out": (Act(0.2, "trade", "ES", 2), Act(0.8, "exit", "ES")),
    "bracket": (
        Act(0.2, "bracket", "ES", 2, 0.9),
        Act(0.7, "trade", "ES", -1),
        Act(1.0, "exit", "ES"),
    ),
    "resting order": (
        Act(0.2, "rest", "ES", 1, 0.3),
        Act(0.5, "move", "ES", 1, 0.1),
        Act(0.8, "cancel", "ES", 1),
    ),
    "drop copy": (Act(0.2, "boss", "ES", 2), Act(0.6, "boss", "ES", -1), Act(0.9, "boss", "ES", -1)),
    "reversal": (Act(0.2, "trade", "ES", 1), Act(0.6, "trade", "ES", -3), Act(1.0, "switch", "ES", 1, 0.0)),
}


class Case(NamedTuple):
    """One crash: the process is killed before a step of a scenario."""

    scenario: str
    step: int


def scenario(name: str) -> Plan:
    """The plan of one scenario: polite brokers, nothing goes wrong but the crash."""
    base = make_plan(1 + sorted(SCENARIOS).index(name), frozenset())
    only = BOSS_LEADER if name == "drop copy" else EA_LEADER
    return replace(base, chaos_s=1.2, followers=3, acts=SCENARIOS[name], troubles=(), only=only)


def points(name: str) -> int:
    """How many steps a scenario has."""
    hush()
    return run_plan(scenario(name)).steps


def crash_at(case: Case) -> Outcome:
    """One scenario, killed before one step."""
    hush()
    return run_plan(scenario(case.scenario), kill_before_step=case.step)


def sweep(steps: Mapping[str, int], every: int, offset: int, jobs: int) -> Iterator[tuple[Case, Outcome]]:
    """All scenarios, each with its number of steps, at every n-th step; `jobs` processes share them."""
    cases = [Case(name, step) for name, last in steps.items() for step in range(offset, last + 1, every)]
    yield from zip(cases, shared(_seen, cases, jobs), strict=True)


def _seen(case: Case) -> Outcome:
    return brief(crash_at(case))
