"""The rules of one writer that need no database."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from gateway_container.api.doors import Batch, Resume
from gateway_container.api.once import Once
from gateway_container.api.taking import FirstAnswer
from gateway_container.config_source import config_digest
from gateway_container.engine.broadcast import Broadcast
from kopitra.domain.copy_rules import CopyRule
from kopitra.store.config import ConfigSnapshot
from kopitra.store.drafts import JournalRow
from kopitra.store.encoding import encode
from kopitra.store.lease import LeaseSettings
from kopitra.store.rules import RuleRow
from kopitra.store.shelf import Shelf
from tests.architecture.house import ROOT

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize("ttl_s", [0.5, 1.0, 10.0, 60.0])
def test_the_timers_of_any_lease_keep_their_order(ttl_s: float) -> None:
    """R-083: two renewals fit before the holder stops itself, and it does so before the lease is over."""
    made = LeaseSettings.of(ttl_s, 10.0)
    assert 2 * made.renew_s <= made.ttl_s - made.margin_s < made.ttl_s
    assert made.ttl_s == ttl_s


def test_nothing_is_decided_by_an_advisory_lock() -> None:
    """R-086: only two migrations at once take turns by one."""
    rooms = ("kopitra", "brokers", "gateway_container", "cli")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".sql")]
    users = {str(p.relative_to(ROOT)) for p in files if "advisory_lock" in p.read_text(encoding="utf-8")}
    assert users == {str(Path("kopitra/store/migrate.py"))}


def test_a_queued_answer_names_the_signal_and_no_number() -> None:
    """R-082: byte for byte the same for every repetition."""
    answer = FirstAnswer(Once("w", "key", "signals", "k", b"f"), "sig-1").queued()
    assert (answer.principal, answer.endpoint, answer.key, answer.fingerprint) == (
        "key",
        "signals",
        "k",
        b"f",
    )
    assert answer.status == 202
    assert answer.body(0) == answer.body(7) == b'{"status":"queued","signalId":"sig-1"}'


def snapshot(version: int, body: bytes) -> ConfigSnapshot:
    row = RuleRow("w", "r", "lead", "a", body, AT, "ann", version=version)
    empty: tuple[object, ...] = ()
    fields = dict.fromkeys(ConfigSnapshot.__dataclass_fields__, empty)
    return ConfigSnapshot(**{**fields, "version": version, "rules": (row,)})  # pyright: ignore[reportArgumentType]


def test_replicas_with_the_same_rules_show_the_same_digest() -> None:
    """R-089: and with other rules another one."""
    first = encode(CopyRule("r", 1, "w", "lead", "a"))
    same, other = config_digest(snapshot(1, first)), config_digest(snapshot(2, first))
    assert same == config_digest(snapshot(1, first))
    assert same != other
    assert len(same) == 16


def row(seq: int) -> JournalRow:
    return JournalRow("main", seq, 1, AT, "system.heartbeat", "Heartbeat", "w", b"{}", b"")


class _NoRows:
    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        del shard, after, limit
        return []


async def heard(broadcast: Broadcast, *batches: tuple[int, ...]) -> list[int | str]:
    """What a reader hears of these batches of rows."""
    entries = broadcast.subscribe("w", 0, None)
    news: list[int | str] = []

    async def read() -> None:
        async for told in entries:
            match told:
                case Batch(items):
                    news.extend(item.seq for item in items)
                case Resume(seq, _):
                    news.append(f"resume after {seq}")

    reading = asyncio.ensure_future(read())
    while broadcast.subscribers == 0:
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    for batch in batches:
        broadcast.committed([row(seq) for seq in batch])
        for _ in range(5):
            await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    return news


async def test_a_reader_hears_every_row_or_is_told_to_resume() -> None:
    """Rows that nobody showed between a standby's last look and the take-over end its stream."""
    assert await heard(Broadcast(cast("Shelf", _NoRows()), "main"), (1, 2), (3,), (4,)) == [1, 2, 3, 4]
    assert await heard(Broadcast(cast("Shelf", _NoRows()), "main"), (1, 2), (5,)) == [1, 2, "resume after 2"]
