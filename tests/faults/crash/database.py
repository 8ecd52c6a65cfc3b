"""`python -m tests.faults.crash.database [--restarts n] [--out file]`: the database dies under load.

T-23, R-071 to R-077.
Two replicas trade while PostgreSQL is stopped as by a crash and started again, or loses one of its backends to SIGKILL,
which restarts all of them. Whatever was answered is durable and was done once.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from cli.local.postgres import EmbeddedPostgres
from kopitra.store.migrate import migrate
from tests.faults.handover_campaign import Campaign
from tests.faults.handover_fleet import fleet
from tests.faults.publish import DatabaseRuns
from tests.faults.runs import commit

#: seconds of seeds that a campaign is given: between two crashes, and without a server
EVERY_S: Final = (5.0, 40.0)
DOWN_S: Final = (0.0, 2.0)
#: share of crashes in which only a backend is killed
BACKEND_RATIO: Final = 0.3
#: crashes of one database. Its brokers' lists get longer, and every successor reads them beside everybody else
ROUND: Final = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and for how long; seconds from .. to."""

    restarts: int
    every_s: tuple[float, float] = EVERY_S
    down_s: tuple[float, float] = DOWN_S


@asynccontextmanager
async def trading(folder: Path, seed: int) -> AsyncGenerator[Campaign]:
    """A durable server, two replicas, and an EA that does not rest."""
    (folder / "data").mkdir()
    with tempfile.TemporaryDirectory(prefix="kopitra-pg-") as home, EmbeddedPostgres(Path(home)) as server:
        await migrate(server.dsn)
        async with fleet(server.dsn, folder / "data") as one:
            made = Campaign(one, server, server.dsn, random.Random(seed))
            try:
                await made.join()
                await made.join()
                made.trade()
                await made.healthy()
                yield made
            finally:
                await made.end()


async def restarted(made: Campaign, pace: Pace, found: DatabaseRuns) -> None:
    """Crash after crash; each time somebody sends entries and exits again. `found` takes what was seen."""
    loop = asyncio.get_running_loop()
    for _ in range(pace.restarts):
        await asyncio.sleep(made.chance.uniform(*pace.every_s))
        begun_s = loop.time()
        if made.chance.random() < BACKEND_RATIO:
            await asyncio.to_thread(_kill_backend, made.server.dsn)
            found.backends += 1
        else:
            await asyncio.to_thread(made.server.kill)
            await asyncio.sleep(made.chance.uniform(*pace.down_s))
            await asyncio.to_thread(made.server.start)
        found.restarts += 1
        await made.healthy()
        found.dark_max_s = max(found.dark_max_s, round(loop.time() - begun_s, 3))
    await made.rest()
    await made.settled()
    ends = await made.one.ends()
    found.signals += len(made.one.told)
    found.retried += sum(len(told.refusals) for told in made.one.told)
    found.doubled += len(ends.doubled) + len(ends.planned_twice)
    found.lost += len(ends.lost)


def _kill_backend(dsn: str) -> None:
    text = "select pid from pg_stat_activity where application_name like 'kopitra g%' order by pid limit 1"
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(text).fetchone()
    if row is not None:
        os.kill(int(row[0]), signal.SIGKILL)


async def _campaigns(pace: Pace, seed: int) -> DatabaseRuns:
    found = DatabaseRuns(commit())
    while (left := pace.restarts - found.restarts) > 0:
        with tempfile.TemporaryDirectory(prefix="kopitra-crash-") as folder:
            async with trading(Path(folder), seed + found.restarts) as made:
                await restarted(made, replace(pace, restarts=min(left, ROUND)), found)
    return found


def main() -> int:
    """0: nothing was doubled or lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash.database", description=__doc__)
    parser.add_argument("--restarts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, nargs=2, default=EVERY_S, metavar="S")
    parser.add_argument("--down", type=float, nargs=2, default=DOWN_S, metavar="S")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    begun_s = time.perf_counter()
    pace = Pace(options.restarts, tuple(options.every), tuple(options.down))
    found = asyncio.run(_campaigns(pace, options.seed))
    found.seconds = round(time.perf_counter() - begun_s, 1)
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    sys.stdout.write(text + "\n")
    if options.out is not None:
        options.out.write_text(text + "\n")
    return int(bool(found.doubled or found.lost))


if __name__ == "__main__":
    sys.exit(main())
