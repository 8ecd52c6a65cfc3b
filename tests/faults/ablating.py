"""Trials of ablations: how soon is a safeguard missed? (T-90)

What breaks without it must hold with it: each finding is tried again with the safeguard in. What the gateway's own
assertions tell (`invariant-i-nn`) counts as seen, like what the brokers' ledgers show.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

import msgspec

from tests.faults.ablations import ABLATIONS, BY_NAME
from tests.faults.directed import WORLDS
from tests.faults.knife import without
from tests.faults.runs import ROOT, hush
from tests.faults.swarm import Plan, make_plan
from tests.faults.trials import Ablation, Cards, Directed, Seeds
from tests.faults.world import World, run_plan

_ALERT: Final = "invariant-"
#: names the ablation to the process that runs tests
VARIABLE: Final = "KOPITRA_ABLATE"
#: seconds that a test may take
TESTS_WITHIN_S: Final = 240


class Finding(msgspec.Struct, frozen=True):
    """What became of one trial; `invariant` is empty when nobody missed the safeguard."""

    name: str
    lives: str
    invariant: str
    #: seeds, worlds or tests that it took
    tries: int
    #: the seed, world or test that showed it
    shown_by: str
    text: str
    #: what was run: seeds, a world, tests
    kind: str = ""


class Broke(NamedTuple):
    """A promise that did not hold in one run."""

    invariant: str
    text: str


Run = Callable[[], list[Broke]]


def try_out(name: str, most: int) -> Finding:
    """Take one safeguard out until it is missed, `most` tries at most."""
    hush()
    ablation = BY_NAME[name]
    if isinstance(ablation.trial, Cards):
        return _cards(ablation, ablation.trial)
    tries = 0
    for shown_by, run in _runs(ablation.trial):
        if tries == most:
            break
        tries += 1
        with without(ablation.cut):
            broke = _first(ablation, run())
        if broke is not None and not run():
            return Finding(
                name, ablation.lives, broke.invariant, tries, shown_by, broke.text, ablation.trial.kind
            )
    return _unmissed(ablation, tries)


def _first(ablation: Ablation, broken: list[Broke]) -> Broke | None:
    return next((broke for broke in broken if broke.invariant in ablation.breaks), None)


def _unmissed(ablation: Ablation, tries: int) -> Finding:
    return Finding(ablation.name, ablation.lives, "", tries, "", "nobody missed it", ablation.trial.kind)


def _runs(trial: Seeds | Directed) -> Iterator[tuple[str, Run]]:
    """What is run, one after the other: (how a person names it, how it is run)."""
    if isinstance(trial, Seeds):
        seed = trial.first
        while True:
            yield f"seed {seed}", lambda seed=seed: _seed(seed, trial.faults)
            seed += 1
    for name in trial.worlds:
        yield name, lambda name=name: _judged(WORLDS[name])


def _seed(seed: int, faults: frozenset[str]) -> list[Broke]:
    return _judged(make_plan(seed, faults) if faults else make_plan(seed))


def _judged(plan: Plan) -> list[Broke]:
    seen: list[World] = []
    outcome = run_plan(plan, sabotage=seen.append)
    return [Broke(v.invariant, v.text) for v in outcome.violations] + _asserted(seen[0])


def _asserted(world: World) -> list[Broke]:
    """What the gateway itself saw."""
    world.view.follow()
    alerts = [alert for found in world.view.alerted.values() for alert in found]
    return [
        Broke(alert.code.removeprefix(_ALERT).upper(), alert.text)
        for alert in alerts
        if alert.code.startswith(_ALERT)
    ]


def _cards(ablation: Ablation, cards: Cards) -> Finding:
    for number, test in enumerate(cards.tests, start=1):
        if not _passes(test, ablation.name):
            if not _passes(test, ""):
                return Finding(
                    ablation.name, ablation.lives, "", number, test, "the test fails anyhow", cards.kind
                )
            text = "the test fails without the safeguard"
            return Finding(ablation.name, ablation.lives, ablation.breaks[0], number, test, text, cards.kind)
    return _unmissed(ablation, len(cards.tests))


def _passes(test: str, name: str) -> bool:
    """One test in a process of its own, with or without the safeguard. RuntimeError when there is no such test."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.faults.ablated",
        test,
    ]
    env = {**os.environ, VARIABLE: name, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    asked = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=TESTS_WITHIN_S
    )
    if asked.returncode not in (0, 1):
        raise RuntimeError(f"{test} could not be run: {asked.stdout[-2000:]} {asked.stderr[-1000:]}")
    return asked.returncode == 0


def try_all(names: list[str], most: int, jobs: int) -> Iterator[Finding]:
    """All of them, in order; `jobs` processes share them."""
    chosen = names or [one.name for one in ABLATIONS]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(try_out, chosen, [most] * len(chosen))
