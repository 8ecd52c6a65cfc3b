"""Many deaths side by side on one PostgreSQL, each in a database of its own (T-23)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli.local.postgres import EmbeddedPostgres
from kopitra.store.migrate import migrate
from tests.faults.crash.case import Case
from tests.faults.crash.judging import Verdict
from tests.faults.crash.points import Death

#: seconds of one case before it counts as hanging
CASE_S: Final = 600.0
#: characters of a broken case's own log that are shown
LOG_MAX: Final = 1_500
_TEMPLATE: Final = "crash_template"


@dataclass(frozen=True, slots=True)
class Run:
    """One death under one seed, and what came of it."""

    death: Death
    seed: int
    verdict: Verdict
    log: str = ""

    @property
    def repeat(self) -> str:
        """The command that runs it again (H-9)."""
        return f"python -m tests.faults.crash --points '{self.death.label}' --first {self.seed} --seeds 1"


async def _made(dsn: str, name: str, template: str | None = None) -> str:
    text = sql.SQL("create database {}").format(sql.Identifier(name))
    if template is not None:
        text += sql.SQL(" template {}").format(sql.Identifier(template))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(text)
    return make_conninfo(dsn, dbname=name)


async def _dropped(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def _one(dsn: str, number: int, death: Death, seed: int) -> Run:
    name = f"crash_{number}"
    own = await _made(dsn, name, _TEMPLATE)
    with tempfile.TemporaryDirectory(prefix="kopitra-crash-") as folder:
        case = Case(own, Path(folder), death, seed)
        try:
            async with asyncio.timeout(CASE_S):
                verdict = await case.verdict()
        except (Exception, TimeoutError) as error:  # noqa: BLE001 - one case must not end the others
            where = [f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]
            verdict = Verdict(wrong=[f"{type(error).__name__} in {' > '.join(where)}: {error}"])
        log = case.log[-LOG_MAX:] if verdict.broken else ""
    await _dropped(dsn, name)
    return Run(death, seed, verdict, log)


async def run(wanted: Sequence[tuple[Death, int]], at_once: int) -> AsyncIterator[Run]:
    """All of them, as they end; the server does not wait for its disk: only processes die here."""
    with (
        tempfile.TemporaryDirectory(prefix="kopitra-pg-") as folder,
        EmbeddedPostgres(Path(folder), {"fsync": "off"}) as server,
    ):
        await migrate(await _made(server.dsn, _TEMPLATE))
        gate = asyncio.Semaphore(at_once)

        async def one(number: int, death: Death, seed: int) -> Run:
            async with gate:
                return await _one(server.dsn, number, death, seed)

        tasks = [asyncio.create_task(one(n, *what)) for n, what in enumerate(wanted)]
        for done in asyncio.as_completed(tasks):
            yield await done
