"""`python -m tests.faults.wire --first 1 --seeds 20 [--out file]`: the whole tier, T-30."""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from brokers import registry
from tests.faults.runs import commit
from tests.faults.wire.toxics import TOXICS
from tests.faults.wire.workload import Outcome, Run

AT_ONCE = 8


async def _all(first: int, seeds: int) -> list[Outcome]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(run: Run) -> Outcome:
        async with gate:
            outcome = await run.outcome()
        mark = "." if not outcome.violations else f"\n{outcome}\n"
        print(mark, end="", flush=True)
        return outcome

    return await asyncio.gather(
        *(
            one(Run(adapter, toxic, seed))
            for _, adapter in sorted(registry().items())
            for toxic in TOXICS
            for seed in range(first, first + seeds)
        )
    )


def main() -> int:
    """0 when no run broke anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.wire")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    outcomes = asyncio.run(_all(chosen.first, chosen.seeds))
    broken = [outcome for outcome in outcomes if outcome.violations]
    figures = {
        "commit": commit(),
        "runs": len(outcomes),
        "brokers": len({outcome.broker for outcome in outcomes}),
        "faults": len(TOXICS),
        "injected": sum(outcome.injected for outcome in outcomes),
        "sent": sum(outcome.sent for outcome in outcomes),
        "doubted": sum(outcome.doubted for outcome in outcomes),
        "doubled": sum(outcome.doubled for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "violations": [asdict(outcome) for outcome in broken],
    }
    text = json.dumps(figures, indent=2)
    print(f"\n{text}")
    if chosen.out is not None:
        chosen.out.write_text(text + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
