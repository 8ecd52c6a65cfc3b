"""T-25: an old and a new revision run together while the database is migrated under load (R-089, R-090).

`REVISIONS_S=60` runs the long form; `REVISIONS_FIGURES=file` writes what was counted.
"""

import asyncio
import os
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kopitra.store.builds import Verdict, judge
from kopitra.store.migrate import MIGRATIONS_DIR, migrate
from tests.faults.handover_fleet import BASE, Fleet, Gateway, Told, fleet, gateway, until
from tests.faults.publish import RevisionRuns
from tests.faults.runs import commit

#: seconds of both revisions together
TOGETHER_S = float(os.environ.get("REVISIONS_S", "5"))
SIGNALS_PER_S = 20
#: what a migration may add while the old revision works: columns at the end, tables, indexes
EXPAND = """
    alter table journal add column newer text;
    alter table idempotency add column newer text;
    alter table signal_ids add column newer text;
    alter table lease add column newer integer not null default 1;
    alter table inbox add column newer text;
    alter table replicas add column newer text;
    alter table builds add column newer text;
    alter table kill_switches add column newer text;
    alter table copy_rules add column newer text;
    alter table accounts add column newer text;
    alter table orders add column newer text;
    create table newer (id integer primary key);
    create index newer_orders on orders (newer)"""


def newer_migrations(folder: Path) -> Path:
    """The migrations of a build that is one step ahead."""
    shutil.copytree(MIGRATIONS_DIR, folder)
    (folder / "901_newer.pre.sql").write_text(EXPAND)
    (folder / "901_newer.post.sql").write_text("drop table newer")
    return folder


async def load(one: Fleet, until_s: float) -> list[Told]:
    """Signals at a fixed pace, whatever the answers do; each is retried until it is answered."""
    loop = asyncio.get_running_loop()
    sending: list[asyncio.Task[Told]] = []
    due = loop.time()
    while loop.time() < until_s:
        entry = len(sending) % 2 == 0
        act: dict[str, object] = (
            {"action": "add", "side": "buy", "quantity": 1} if entry else {"action": "exit"}
        )
        sending.append(loop.create_task(one.send(**act)))
        due += 1 / SIGNALS_PER_S
        await asyncio.sleep(max(0.0, due - loop.time()))
    return await asyncio.gather(*sending)


async def two_revisions(stack: AsyncExitStack, one: Fleet) -> tuple[Gateway, Gateway]:
    old = await stack.enter_async_context(gateway(one.dsn, one.folder, build="old"))
    await judge(one.house.db, Verdict("new", True, "release", "ann"), datetime.now(UTC))
    new = await stack.enter_async_context(gateway(one.dsn, one.folder, build="new"))
    return old, new


async def published(one: Fleet) -> None:
    """Write the figures for the docs, whatever they are."""
    path = os.environ.get("REVISIONS_FIGURES")
    if not path:
        return
    ends, retried = await one.ends(), sum(len(t.refusals) for t in one.told)
    doubled = len(ends.doubled) + len(ends.planned_twice)
    figures = RevisionRuns(commit(), len(one.told), TOGETHER_S, retried, doubled, len(ends.lost))
    await asyncio.to_thread(Path(path).write_bytes, msgspec.json.encode(figures))


async def test_two_revisions_work_together_while_the_database_is_migrated(dsn: str, tmp_path: Path) -> None:
    """T-25, R-090: the EAs see nothing but retries; the old one hands over in the middle."""
    ahead = newer_migrations(tmp_path / "migrations")
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        old, new = await two_revisions(stack, one)
        one.doors = [(old.http, BASE), (new.http, BASE)]
        loop = asyncio.get_running_loop()
        sending = loop.create_task(load(one, loop.time() + TOGETHER_S))
        third = TOGETHER_S / 3
        await until(lambda: len(one.told) >= SIGNALS_PER_S * third, "the first third", 20 + TOGETHER_S)
        done = await asyncio.wait_for(migrate(dsn, stage="pre", folder=ahead), 20)
        assert done == ["901_newer.pre"]
        await until(lambda: len(one.told) >= SIGNALS_PER_S * 2 * third, "the second third", 20 + TOGETHER_S)
        one.doors.pop(0)  # an ingress sends nothing more to a replica that ends
        assert await old.stopped() == 0

        told = await sending

        assert len(told) >= SIGNALS_PER_S * TOGETHER_S * 0.9
        await until(lambda: new.leads, "the new revision to lead")
        planned: Counter[str] = Counter()
        async with asyncio.timeout(20):
            while len(planned := await one.planned()) < len(told):
                await asyncio.sleep(0.05)
        assert {status for t in told for status in t.refusals} <= {409, 503}
        assert {t.status for t in told} == {"accepted", "queued"}
        assert len(planned) == len(told)
        await one.settled()
        await published(one)
        await one.nothing_is_doubled_or_lost()


async def test_an_old_revision_does_not_take_over_what_a_newer_one_has_contracted(
    dsn: str, tmp_path: Path
) -> None:
    """R-089: the claimer checks the schema again when it claims, not only when it starts."""
    ahead = newer_migrations(tmp_path / "migrations")
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        old, new = await two_revisions(stack, one)
        await migrate(dsn, stage="post", folder=ahead)

        assert await old.stopped() == 0

        await until(lambda: "901_newer.post" in new.replica._note, "the refusal of the schema")
        assert new.replica.machine is None
