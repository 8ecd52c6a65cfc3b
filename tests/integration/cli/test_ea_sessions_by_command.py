"""Sessions of EAs by command: listed, approved, ended."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from kopitra.store import ea_sessions as store
from kopitra.store.ea_sessions import SessionDraft, SessionRow
from kopitra.store.pool import Database

Kopitra = Callable[..., str]


@pytest.fixture
def key_id(kopitra: Kopitra) -> str:
    kopitra("workspace create main")
    kopitra("leader create lead")
    return str(json.loads(kopitra("key issue lead --account EA-1"))["key"])


def opened(dsn: str, key_id: str, name: str) -> SessionRow:
    async def work() -> SessionRow:
        async with Database(dsn) as db:
            draft = SessionDraft(name, "main", key_id, "lead", "EA-1", b"t" * 32, b"f" * 32, b"{}")
            return await store.open_session(db, draft, datetime.now(UTC))

    return asyncio.run(work())


def waiting(dsn: str, name: str) -> list[str]:
    async def work() -> list[str]:
        async with Database(dsn) as db:
            return [row.event_type for row in await store.waiting_events(db, [name])]

    return asyncio.run(work())


def listed(kopitra: Kopitra, *more: str) -> list[tuple[str, str]]:
    rows = json.loads(kopitra(" ".join(("ea-sessions list --json", *more))))
    return [(row["session"], row["status"]) for row in rows]


def test_approval_counts_for_every_later_session_of_the_key(kopitra: Kopitra, dsn: str, key_id: str) -> None:
    assert opened(dsn, key_id, "s-one").status == "pending"
    kopitra("ea-sessions approve s-o")
    assert listed(kopitra) == [("s-one", "authenticated")]
    assert waiting(dsn, "s-one") == ["InitAck"]
    assert opened(dsn, key_id, "s-two").status == "authenticated"
    assert listed(kopitra) == [("s-two", "authenticated")]
    assert waiting(dsn, "s-one") == ["InitAck", "ShutdownNotice"]


def test_a_rule_approves_before_anybody_asks_and_can_be_taken_back(
    kopitra: Kopitra, dsn: str, key_id: str
) -> None:
    kopitra("ea-sessions auto-approve --leader lead")
    assert opened(dsn, key_id, "s-one").status == "authenticated"
    kopitra("ea-sessions auto-approve --leader lead --off")
    assert opened(dsn, key_id, "s-two").status == "pending"
    kopitra("ea-sessions auto-approve --all")
    assert listed(kopitra) == [("s-two", "authenticated")]


def test_an_ended_session_is_told_why(kopitra: Kopitra, dsn: str, key_id: str) -> None:
    opened(dsn, key_id, "s-one")
    kopitra("ea-sessions end s-one --yes")
    assert listed(kopitra) == []
    assert listed(kopitra, "--ended") == [("s-one", "ended")]
    assert waiting(dsn, "s-one") == ["ShutdownNotice"]


def test_wrong_words_are_told(kopitra: Kopitra, key_id: str) -> None:
    del key_id
    kopitra("ea-sessions approve nothing", code=1)
    kopitra("ea-sessions auto-approve", code=2)
    kopitra("ea-sessions auto-approve --all --leader lead", code=2)
