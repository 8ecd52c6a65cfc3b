"""`python -m bench`: measure, print floor, value, ratio and goal side by side, write bench/results.json."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.compare import RESULTS
from bench.lab import Figure, Lab
from bench.load.section import PARTS
from bench.load.sizes import SIZES
from bench.report import judge_all, merged, read, table, write
from bench.rig import build_tap, postgres
from bench.rounds import Refused
from bench.sections import SECTIONS
from bench.subjects import subjects

ROUNDS_MIN = 5
AGAIN_MAX = 2
#: The sections before `load` have five minutes; what is left after this is for what must still be run once.
AGAIN_UNTIL_S = 120.0
#: No section starts after this.
LAST_START_S = 330.0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def figures_of(lab: Lab, names: list[str]) -> Iterator[Figure]:
    """The chosen sections' figures; a refused run ends its section, not the bench."""
    for name in names:
        if lab.elapsed_s() > LAST_START_S:
            say(f"{name}: left out, the bench is out of time; run it alone with --only {name}")
            continue
        say(f"{name} ({lab.elapsed_s():.0f} s)")
        try:
            yield from SECTIONS[name](lab)
        except Refused as why:
            say(f"  REFUSED {why}")
            lab.refused.append(f"{name}: {why}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", choices=sorted(subjects()), default=next(iter(subjects())))
    parser.add_argument("--only", nargs="+", choices=sorted(SECTIONS), default=list(SECTIONS))
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS_MIN, help="five or more for a figure to be quoted"
    )
    parser.add_argument(
        "--load", nargs="+", choices=list(PARTS), default=[], help="parts of the section load"
    )
    parser.add_argument("--size", choices=list(SIZES), default="bench", help="how large the loads are")
    parser.add_argument("--out", type=Path, help="default: bench/results.json, for a whole run only")
    parser.add_argument(
        "--add", action="store_true", help="put the figures of a part into bench/results.json"
    )
    return parser.parse_args()


def main() -> int:
    args = parse()
    begun = time.monotonic()
    build_tap()
    with postgres() as dsn:
        lab = Lab(
            subject=subjects()[args.subject],
            dsn=dsn,
            say=say,
            rounds=args.rounds,
            again_max=AGAIN_MAX,
            again_until_s=AGAIN_UNTIL_S,
            sizes=SIZES[args.size],
            loads=args.load,
        )
        results = judge_all(figures_of(lab, args.only))
    print(table(results))
    whole = args.only == list(SECTIONS) and not args.load and args.size == "bench"
    out = args.out or (RESULTS if whole or args.add else None)
    if out:
        write(out, merged(read(RESULTS.read_bytes()), results) if args.add else results)
    say(f"{time.monotonic() - begun:.0f} s; {f'written to {out}' if out else 'not written: not a whole run'}")
    for line in lab.refused:
        say(f"REFUSED {line}")
    return 1 if lab.refused else 0


if __name__ == "__main__":
    sys.exit(main())
