"""Many seeds: run side by side, counted, written down (T-20, T-21)."""

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from tests.faults.swarm import make_plan
from tests.faults.world import Outcome, run_plan

ROOT: Final = Path(__file__).parents[2]
#: seeds that one worker takes at a time
CHUNK: Final = 5
#: violations that are kept in the figures
KEPT_MAX: Final = 200

_Case = TypeVar("_Case")


class Figures(msgspec.Struct):
    """What a run of many seeds found; JSON for the published page."""

    commit: str
    tier: str
    first: int
    seeds: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    placements: int = 0
    #: signals: tried by an EA, answered by 202, and of these recovered after a try without an answer (I-04)
    attempted: int = 0
    acknowledged: int = 0
    recovered: int = 0
    crash_points: int = 0
    #: T-22: every n-th step was tried, of so many in all scenarios
    every: int = 1
    steps_in_all: int = 0
    doubles: int = 0
    lost: int = 0
    faults: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    #: invariant -> seeds that broke it
    broken: dict[str, list[int]] = msgspec.field(default_factory=dict[str, list[int]])
    violations: list[str] = msgspec.field(default_factory=list[str])

    def take(self, outcome: Outcome) -> None:
        """Add one run."""
        self.seeds += 1
        self.steps += outcome.steps
        self.virtual_s = round(self.virtual_s + outcome.virtual_s, 3)
        self.placements += outcome.placements
        self.attempted += outcome.accounts.attempted
        self.acknowledged += outcome.accounts.acknowledged
        self.recovered += outcome.accounts.recovered
        self.faults = dict(sorted((Counter(self.faults) + Counter(outcome.faults)).items()))
        broken = sorted({v.invariant for v in outcome.violations})
        self.doubles += "I-01" in broken
        self.lost += "I-02" in broken or "I-07" in broken
        for name in broken:
            self.broken.setdefault(name, []).append(outcome.seed)
        if outcome.violations and len(self.violations) < KEPT_MAX:
            self.violations.append(f"seed {outcome.seed}: {outcome.violations[0]}")


def commit() -> str:
    """The commit that is run, with a mark when files differ from it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def hush() -> None:
    """The product's own logs say nothing here: the trace does."""
    logging.disable(logging.CRITICAL)
    structlog.configure(processors=[_dropped], cache_logger_on_first_use=False)


def _dropped(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def run_one(seed: int) -> Outcome:
    """One seed."""
    hush()
    return brief(run_plan(make_plan(seed)))


def brief(outcome: Outcome) -> Outcome:
    """With its trace only when something broke: those of many runs are too much to carry."""
    return outcome if outcome.violations else replace(outcome, trace=())


def run_many(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """All seeds, in order; `jobs` processes share them."""
    yield from shared(run_one, seeds, jobs)


def shared(run: Callable[[_Case], Outcome], cases: Sequence[_Case], jobs: int) -> Iterator[Outcome]:
    """What became of all cases, in order; `jobs` processes share them."""
    if jobs <= 1:
        yield from map(run, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, cases, chunksize=CHUNK)


def figures_of(outcomes: Iterable[Outcome], first: int, tier: str) -> Figures:
    """The sum of many runs."""
    made = Figures(commit(), tier, first)
    for outcome in outcomes:
        made.take(outcome)
    return made


def hashes(first: int, seeds: int, hash_seed: int) -> list[str]:
    """Trace hashes of seeds, made by another interpreter with another order of its sets (T-21)."""
    command = [sys.executable, "-m", "tests.faults", "hashes", "--first", str(first), "--seeds", str(seeds)]
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    asked = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return asked.stdout.split()
