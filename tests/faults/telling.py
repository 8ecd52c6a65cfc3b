"""What a failing run tells a person: its seed, commit, smallest trace, what broke, how to replay it (H-9)."""

from collections.abc import Sequence
from typing import Final

from tests.faults.outcome import Outcome
from tests.faults.runs import commit
from tests.faults.shrink import shrink
from tests.faults.swarm import make_plan

#: lines of a trace that are told: those before something broke
LINES_MAX: Final = 60


def told(outcome: Outcome) -> str:
    """A failing seed, made small first: that costs up to `shrink.RUNS_MAX` runs."""
    plan, small = shrink(make_plan(outcome.seed), outcome)
    return "\n".join(
        (
            named(outcome),
            f"faults: {', '.join(sorted(plan.classes)) or 'none'}",
            *_until_it_broke(small),
            *(f"BROKEN {violation}" for violation in small.violations),
        )
    )


def named(outcome: Outcome) -> str:
    """A failing seed in two lines."""
    return (
        f"seed {outcome.seed} at {commit()}: {outcome.violations[0]}\n"
        f"  replay: make chaos SEED={outcome.seed}"
    )


def told_step(scenario: str, step: int, outcome: Outcome) -> str:
    """A failing step of the crash sweep: its scenario is small already."""
    return "\n".join((named_step(scenario, step, outcome), *_until_it_broke(outcome)))


def named_step(scenario: str, step: int, outcome: Outcome) -> str:
    """A failing step in two lines."""
    return (
        f"{scenario}, killed before step {step} at {commit()}: {outcome.violations[0]}\n"
        f"  replay: python -m tests.faults sweep --scenario '{scenario}' --step {step}"
    )


def _until_it_broke(outcome: Outcome) -> Sequence[str]:
    until_s = outcome.violations[0].at_s
    before = [line for line in outcome.trace if float(line.split(maxsplit=1)[0]) <= until_s]
    return before[-LINES_MAX:]
