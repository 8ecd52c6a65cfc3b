"""`python -m tests.faults.crash [--points all|few|name,..] [--every n] [--seeds n] [--out file]`: T-23.

Gateway processes over a real PostgreSQL die by SIGKILL at labelled points; seeds choose how rude the brokers are.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import msgspec

from tests.faults.crash.campaign import Run, run
from tests.faults.crash.points import DEATHS, FEW, STAGES, Death
from tests.faults.crash.script import RUDE
from tests.faults.publish import CrashRuns
from tests.faults.runs import commit

#: cases side by side: most of a case is waiting
AT_ONCE = 4


def chosen(words: str, every: int = 1) -> list[Death]:
    """By names. ValueError names one that is not known."""
    if words in ("all", "few"):
        return list(STAGES if words == "all" else FEW)[::every]
    unknown = [name for name in words.split(",") if name not in DEATHS]
    if unknown:
        raise ValueError(f"There is no point {unknown[0]!r}; `--points list` shows them.")
    return [DEATHS[name] for name in words.split(",")]


def take(found: CrashRuns, one: Run) -> None:
    """Add one run to the figures."""
    found.runs += 1
    found.deaths += len(one.death.points)
    found.doubled += len(one.verdict.doubled)
    found.lost += len(one.verdict.lost)
    found.violations += [f"{one.death.label} seed {one.seed}: {text}" for text in one.verdict.broken]


async def _all(deaths: list[Death], options: argparse.Namespace, found: CrashRuns) -> None:
    seeds = range(options.first, options.first + options.seeds)
    wanted = [(death, seed) for seed in seeds for death in deaths]
    async for one in run(wanted, options.jobs):
        take(found, one)
        if not one.verdict.broken:
            say(f"ok {one.death.label} seed {one.seed}")
            continue
        say(f"BROKEN {one.death.label} at {found.commit}, seed {one.seed}:")
        for text in one.verdict.broken:
            say(f"  {text}")
        say(f"  again: {one.repeat}")
        if options.logs:
            say(one.log)


def say(text: str) -> None:
    """One line for whoever runs this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """0: nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash", description=__doc__)
    parser.add_argument("--points", default="all", help="all, few, list, or names with commas between them")
    parser.add_argument("--every", type=int, default=1, help="only each n-th of them")
    parser.add_argument("--first", type=int, default=0, help="the first seed; 0 and each fifth are polite")
    parser.add_argument("--seeds", type=int, default=len(RUDE))
    parser.add_argument("--jobs", type=int, default=AT_ONCE)
    parser.add_argument("--logs", action="store_true", help="show what the processes of a broken case said")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.points == "list":
        say("\n".join(DEATHS))
        return 0
    deaths = chosen(options.points, options.every)
    begun_s = time.perf_counter()
    found = CrashRuns(commit(), points=len(deaths))
    asyncio.run(_all(deaths, options, found))
    found.seconds = round(time.perf_counter() - begun_s, 1)
    say(
        f"{found.points} points, {found.runs} runs, {found.deaths} deaths in {found.seconds:.0f} s: "
        f"{found.doubled} doubled, {found.lost} lost, {len(found.violations)} broken"
    )
    if options.out is not None:
        options.out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    return int(bool(found.violations))


if __name__ == "__main__":
    sys.exit(main())
