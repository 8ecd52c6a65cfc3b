"""A failing seed made small: faults, troubles and acts are taken out one at a time while it still fails (H-9)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.faults.swarm import Plan
from tests.faults.world import Outcome, run_plan

#: runs that shrinking may cost
RUNS_MAX: Final = 150


def shrink(plan: Plan, outcome: Outcome) -> tuple[Plan, Outcome]:
    """The smallest plan found that breaks what `outcome` broke first, and what it does."""
    return _Shrinking(plan, outcome).smallest()


class _Shrinking:
    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        self._plan = plan
        self._outcome = outcome
        self._wanted = outcome.violations[0].invariant
        self._runs = 0

    def smallest(self) -> tuple[Plan, Outcome]:
        """Try everything once, in the order in which it makes a trace shorter."""
        for kind in sorted(self._plan.classes):
            self._try(lambda p, kind=kind: p.without(kind))
        for trouble in self._plan.troubles:
            kept = [t for t in self._plan.troubles if t != trouble]
            self._try(lambda p, kept=kept: replace(p, troubles=tuple(t for t in p.troubles if t in kept)))
        for act in self._plan.acts:
            self._try(lambda p, act=act: replace(p, acts=tuple(a for a in p.acts if a != act)))
        return self._plan, self._outcome

    def _try(self, smaller: Callable[[Plan], Plan]) -> None:
        if self._runs >= RUNS_MAX:
            return
        self._runs += 1
        plan = smaller(self._plan)
        outcome = run_plan(plan)
        if any(v.invariant == self._wanted for v in outcome.violations):
            self._plan, self._outcome = plan, outcome
