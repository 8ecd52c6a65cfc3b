"""The simulation by hand: `python -m tests.faults run`, `replay`, `sweep`, `same`, `ablate`, `publish`; the Makefile
knows them too."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.ablating import try_all
from tests.faults.publish import PAGE, RESULTS, Ablated, publish
from tests.faults.runs import Figures, commit, hashes, hush, run_many
from tests.faults.shrink import shrink
from tests.faults.swarm import Plan, make_plan
from tests.faults.sweep import SCENARIOS, Case, crash_at, points, sweep
from tests.faults.telling import named, named_step, told, told_step
from tests.faults.trials import TRIES_MAX
from tests.faults.world import Outcome, run_plan


def say(text: str) -> None:
    """One line for whoever runs this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing broke. `arguments` are the command line's unless they are given."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "hashes", "same"):
        command = commands.add_parser(name)
        command.add_argument("--first", type=int, default=1)
        command.add_argument("--seeds", type=int, default=50)
        command.add_argument("--jobs", type=int, default=2)
        command.add_argument("--figures", type=Path)
    replay = commands.add_parser("replay")
    replay.add_argument("--seed", type=int, required=True)
    replay.add_argument("--whole", action="store_true", help="do not make it smaller")
    swept = commands.add_parser("sweep")
    swept.add_argument("--every", type=int, default=1)
    swept.add_argument("--offset", type=int, default=1)
    swept.add_argument(
        "--scenario", choices=sorted(SCENARIOS), help="with --step: one crash again, its whole trace"
    )
    swept.add_argument("--step", type=int, default=1)
    swept.add_argument("--jobs", type=int, default=2)
    swept.add_argument("--figures", type=Path)
    ablate = commands.add_parser("ablate")
    ablate.add_argument("names", nargs="*")
    ablate.add_argument("--most", type=int, default=TRIES_MAX)
    ablate.add_argument("--jobs", type=int, default=2)
    ablate.add_argument("--figures", type=Path)
    commands.add_parser("publish")
    options = parser.parse_args(arguments)
    hush()
    return _COMMANDS[options.command](options)


def _run(options: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    figures = Figures(commit(), "T-20", options.first)
    seeds = range(options.first, options.first + options.seeds)
    for outcome in run_many(seeds, options.jobs):
        figures.take(outcome)
        if outcome.violations:
            say(named(outcome) if len(figures.violations) > 1 else told(outcome))
    took_s = time.perf_counter() - begun_s
    _write(options.figures, figures)
    say(
        f"{figures.seeds} seeds in {took_s:.0f} s: {sum(figures.faults.values())} faults, {figures.placements} "
        f"placements, {figures.doubles} doubled, {figures.lost} lost, broken: "
        f"{ {name: len(found) for name, found in sorted(figures.broken.items())} }"
    )
    return int(bool(figures.broken))


def _write(path: Path | None, figures: Figures) -> None:
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def _replay(options: argparse.Namespace) -> int:
    plan = make_plan(options.seed)
    outcome = run_plan(plan)
    if outcome.violations and not options.whole:
        plan, outcome = shrink(plan, outcome)
    _show(plan, outcome)
    return int(bool(outcome.violations))


def _show(plan: Plan, outcome: Outcome) -> None:
    say(f"seed {plan.seed} at {commit()}, faults: {', '.join(sorted(plan.classes)) or 'none'}")
    for line in outcome.trace:
        say(line)
    for violation in outcome.violations:
        say(f"BROKEN {violation}")
    say(f"trace {outcome.trace_hash}; replay: make chaos SEED={plan.seed}")


def _sweep(options: argparse.Namespace) -> int:
    if options.scenario:
        return _step(options.scenario, options.step)
    steps = {name: points(name) for name in SCENARIOS}
    figures = Figures(commit(), "T-22", options.offset, every=options.every, steps_in_all=sum(steps.values()))
    for case, outcome in sweep(steps, options.every, options.offset, options.jobs):
        figures.take(outcome)
        figures.crash_points += 1
        if outcome.violations:
            tell = named_step if len(figures.violations) > 1 else told_step
            say(tell(*case, outcome))
    _write(options.figures, figures)
    say(f"{figures.crash_points} crash points, broken: { {n: len(f) for n, f in figures.broken.items()} }")
    return int(bool(figures.broken))


def _step(name: str, step: int) -> int:
    outcome = crash_at(Case(name, step))
    for line in outcome.trace:
        say(line)
    for violation in outcome.violations:
        say(f"BROKEN {violation}")
    say(f"{name}, killed before step {step} at {commit()}: trace {outcome.trace_hash}")
    return int(bool(outcome.violations))


def _hashes(options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.seeds)
    for seed in seeds:
        say(run_plan(make_plan(seed)).trace_hash)
    return 0


def _same(options: argparse.Namespace) -> int:
    once, again = (hashes(options.first, options.seeds, number) for number in (1, 2))
    differ = [options.first + n for n, (a, b) in enumerate(zip(once, again, strict=True)) if a != b]
    say(f"{len(once)} seeds run twice, different: {differ or 'none'}")
    return int(bool(differ))


def _ablate(options: argparse.Namespace) -> int:
    found = Ablated(commit())
    for finding in try_all(options.names, options.most, options.jobs):
        found.findings.append(finding)
        seen = (
            f"{finding.invariant} after {finding.tries} ({finding.shown_by})"
            if finding.invariant
            else "NOBODY"
        )
        say(f"{finding.name:36} {seen:60} {finding.lives}")
    if options.figures is not None:
        options.figures.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    return int(any(not finding.invariant for finding in found.findings))


def _publish(_options: argparse.Namespace) -> int:
    publish()
    say(f"{PAGE} says what {RESULTS} says")
    return 0


_COMMANDS = {
    "ablate": _ablate,
    "publish": _publish,
    "run": _run,
    "replay": _replay,
    "sweep": _sweep,
    "hashes": _hashes,
    "same": _same,
}

if __name__ == "__main__":
    sys.exit(main())
