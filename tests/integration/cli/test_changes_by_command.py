"""Changes by command: who made them is on record, and none strands a position unless that is asked for."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from brokers import registry
from cli.logins import asked_by
from gateway_container.operators import load_operators
from kopitra.clock import SystemClock
from kopitra.store.drafts import Draft
from kopitra.store.journal import JournalWriter
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.projections import HoldingRow, Projected, write_projected

Kopitra = Callable[..., str]
SECRET = "canary-Lm3-do-not-record"
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
HOLDING = HoldingRow("main", "f1", "lead", "ESZ6", "main", Decimal(2), NOW, 1)


@pytest.fixture
def furnished(kopitra: Kopitra) -> Kopitra:
    """A leader and a follower."""
    broker = next(iter(registry()))
    secrets = json.dumps(dict.fromkeys(asked_by(registry()[broker]).required, SECRET))
    kopitra("workspace create main")
    kopitra(f"login create d1 --broker {broker} --secrets-from-stdin", typed=secrets)
    kopitra("leader create lead")
    kopitra("follower create f1 --leader lead --login d1 --broker-account A-1")
    return kopitra


@pytest.fixture
def holding(furnished: Kopitra, dsn: str) -> Kopitra:
    """The follower holds two contracts because of the leader."""
    asyncio.run(_written(dsn, Projected(holdings=[HOLDING]), None))
    return furnished


async def _written(dsn: str, batch: Projected, head: tuple[str, int] | None) -> None:
    async with Database(dsn) as db:
        await write_projected(db, batch, head)


async def _gateway_was_here(dsn: str) -> None:
    """A journal of one row, which no projector has seen."""
    async with Database(dsn) as db:
        lease = await Lease.take(
            PostgresShelf(db), "main", "tests", clock=SystemClock(), build="test", on_lost=lambda _: None
        )
        writer = await JournalWriter.open(PostgresShelf(db), shard="main", epoch=lease.epoch)
        body = b'{"build":"b","event":"started","at":"2026-11-20T14:30:00Z"}'
        await writer.append([Draft("system.heartbeat", "Heartbeat", "", NOW, body)])
        await writer.close()
        await lease.release("done")


def recorded(dsn: str, what: str) -> list[tuple[str, str, str, str]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "select who, what_id, before, after from config_changes where what = %s order by change_id",
            (what,),
        ).fetchall()


def test_every_change_says_who_made_it_and_no_secret(furnished: Kopitra, dsn: str) -> None:
    furnished("account change f1 --limit daily_loss=400")
    made, changed = recorded(dsn, "account")
    assert made[0].startswith("cli:")
    assert (made[1], made[2]) == ("f1", "null")
    assert json.loads(changed[2])["limits"]["daily_loss"] is None
    assert json.loads(changed[3])["limits"]["daily_loss"] == "400"
    [login] = recorded(dsn, "login")
    assert json.loads(login[3])["sealed"] == "(hidden, new)"
    assert SECRET not in str(login)


def test_a_command_that_changes_nothing_records_nothing(furnished: Kopitra, dsn: str) -> None:
    furnished("account change nobody --off", code=3)
    assert len(recorded(dsn, "account")) == 1


LOSSES = (
    "account change f1 --off",
    "login change d1 --off",
    "leader change lead --off",
    "rule change lead-f1 --off",
    "rule change lead-f1 --set symbol_map=NQ:ES",
    "rule change lead-f1 --set symbol_map=ES:MES",
)


@pytest.mark.parametrize("line", LOSSES)
def test_a_change_that_strands_a_holding_is_refused_with_its_remedies_or_forced(
    holding: Kopitra, dsn: str, line: str
) -> None:
    kinds = ("account", "login", "leader", "rule")
    before = sum(len(recorded(dsn, what)) for what in kinds)
    said = " ".join(holding(line, code=1).split())
    for part in ("f1 holds 2 ESZ6 because of lead", "Flatten it first", "--pace close_only", "--force"):
        assert part in said
    holding(f"{line} --force")
    assert sum(len(recorded(dsn, what)) for what in kinds) == before + 1


def test_what_goes_on_following_exits_is_never_refused(holding: Kopitra) -> None:
    for line in (
        "follower change f1 --leader lead --pace close_only",
        "follower change f1 --leader lead --pace paused",
        "rule change lead-f1 --sizing fixed:3 --set exclude=ES",
        "rule change lead-f1 --set symbol_map=NQ:MNQ",
        "account change f1 --limit daily_loss=1 --on",
    ):
        holding(line)


def test_without_certainty_of_what_is_held_a_change_waits_then_says_so(
    furnished: Kopitra, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kopitra.store.held.LAG_WAIT_S", 0.2)
    asyncio.run(_gateway_was_here(dsn))
    said = " ".join(furnished("account change f1 --off", code=3).split())
    assert "kopitra projections rebuild" in said
    furnished("follower change f1 --leader lead --pace close_only")
    assert furnished("projections rebuild") == "main: shows the journal up to row 1\n"
    furnished("account change f1 --off")


def test_an_interrupted_rebuild_is_no_certainty(
    furnished: Kopitra, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kopitra.store.held.LAG_WAIT_S", 0.2)
    asyncio.run(_gateway_was_here(dsn))
    furnished("projections rebuild")
    with psycopg.connect(dsn) as connection:
        connection.execute("update projection_heads set whole = false")
    assert "being made again" in " ".join(furnished("account change f1 --off", code=3).split())
    furnished("account change f1 --off --force")


def test_a_rebuild_of_an_empty_journal_says_so(kopitra: Kopitra) -> None:
    assert kopitra("projections rebuild") == ""


def test_a_new_operator_is_on_record_without_the_key(furnished: Kopitra, dsn: str, tmp_path: Path) -> None:
    made = json.loads(furnished("operator create alice --role admin"))
    [(who, key_id, before, after)] = recorded(dsn, "operator")
    [grant] = load_operators(tmp_path / "operators.json")
    assert (who[:4], key_id, before) == ("cli:", grant.key_id, "null")
    assert json.loads(after)["name"] == "alice"
    assert made["token"].split("_", 2)[2] not in after
    assert grant.secret_sha256.hex() not in after


def test_a_new_operator_wakes_the_gateways(furnished: Kopitra, dsn: str) -> None:
    version = "select version from config_version"
    with psycopg.connect(dsn) as connection:
        before = connection.execute(version).fetchone()
    furnished("operator create alice")
    with psycopg.connect(dsn) as connection:
        assert connection.execute(version).fetchone() == (before[0] + 1,) if before else False


def test_an_operator_of_a_workspace_that_is_not_there_is_refused(kopitra: Kopitra, tmp_path: Path) -> None:
    assert "kopitra workspace create" in kopitra("operator create alice", code=3)
    assert load_operators(tmp_path / "operators.json") == ()
