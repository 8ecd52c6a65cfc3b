"""The journal keeps the order in which this process folded, whichever way an entry took while it was away (I-12)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from gateway_container.engine.exit_file import ExitLog, Owner
from gateway_container.engine.log import RETRY_S, Log
from gateway_container.engine.state import State
from kopitra.domain.book import Book
from kopitra.domain.errors import StoreError, Unavailable
from kopitra.domain.journal import AlertRaised
from kopitra.store.drafts import Committed, Draft, JournalRow
from kopitra.store.encoding import Decoder
from kopitra.store.exit_records import read
from kopitra.store.journal import JournalWriter
from tests.unit.gateway.test_exit_log import Paper

READER = Decoder(AlertRaised)


class Journal:
    """A writer whose database may be away."""

    def __init__(self) -> None:
        self.available = True
        self.cannot_hold = ""
        self.texts: list[str] = []

    def flush(self) -> None:
        """Nothing waits."""

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[Committed]:
        if not self.available:
            raise Unavailable("away")
        texts = [READER(draft.payload).text for draft in drafts]
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        if self.cannot_hold in texts:
            done.set_exception(StoreError("PostgreSQL cannot hold this fact."))
            return done
        self.texts += texts
        done.set_result(Committed((), ()))
        return done


def said(text: str) -> AlertRaised:
    return AlertRaised("test", text)


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def exits(paper: Paper) -> ExitLog:
    return ExitLog(paper, Owner("main", 2), paper, paper)


@pytest.fixture
def log(journal: Journal, exits: ExitLog) -> Log:
    clock = SimpleNamespace(now=lambda: datetime(2026, 11, 20, 15, 0, tzinfo=UTC))
    state = cast("State", SimpleNamespace(book=Book(), clock=clock))
    return Log(state, cast("JournalWriter", journal), exits, lambda _: None)


async def until_written(journal: Journal, count: int) -> None:
    async with asyncio.timeout(20 * RETRY_S):
        while len(journal.texts) < count:
            await asyncio.sleep(0.01)


async def until_quiet(log: Log) -> None:
    async with asyncio.timeout(20 * RETRY_S):
        while not log.is_quiet:
            await asyncio.sleep(0)


async def test_what_preceded_an_exit_of_the_local_file_precedes_it_in_the_journal(
    log: Log, journal: Journal
) -> None:
    journal.available = False
    log.keep("w", said("1"))
    assert await log.locally("w", said("2"))
    log.note("w", said("3"))
    assert await log.locally("w", said("4"))
    log.note("w", said("5"))
    journal.available = True
    await until_written(journal, 5)
    assert journal.texts == ["1", "2", "3", "4", "5"]


async def test_a_decision_stands_behind_the_facts_that_waited(log: Log, journal: Journal) -> None:
    journal.available = False
    log.keep("w", said("1"))
    with pytest.raises(Unavailable):
        log.decide("w", said("refused"))
    journal.available = True
    await log.decide("w", said("2"))
    assert journal.texts == ["1", "2"]


async def test_facts_of_a_commit_that_failed_go_before_those_that_came_meanwhile(
    log: Log, journal: Journal
) -> None:
    log.note("w", said("1"))  # gathers for some milliseconds
    journal.available = False
    log.keep("w", said("2"))
    log.stop()  # what has gathered is written, and cannot be
    journal.available = True
    log.keep("w", said("3"))
    await until_written(journal, 3)
    assert journal.texts == ["1", "2", "3"]


async def test_a_fact_that_the_journal_cannot_hold_takes_no_other_with_it(log: Log, journal: Journal) -> None:
    """P9: up to 256 facts that shared its append were lost to the journal, and nobody was told."""
    journal.cannot_hold = "2"
    for text in ("1", "2", "3"):
        log.note("w", said(text))
    await until_written(journal, 3)
    assert journal.texts[:2] == ["1", "3"]
    assert "AlertRaised cannot be journalled" in journal.texts[2]
    await until_quiet(log)


async def test_an_alert_of_such_a_fact_that_cannot_be_written_either_is_not_told_for_ever(
    log: Log, journal: Journal
) -> None:
    journal.cannot_hold = "lost"
    log.note("w", AlertRaised("fact-not-journalled", "lost"))
    log.note("w", said("1"))
    await until_written(journal, 1)
    assert journal.texts == ["1"]
    await until_quiet(log)


@pytest.mark.parametrize("older", [("ok", "bad"), ("bad", "ok"), ("bad",)])
async def test_a_fact_that_the_journal_cannot_hold_holds_up_no_exit_of_the_local_file(
    log: Log, journal: Journal, older: tuple[str, ...]
) -> None:
    """R-072, P9: until a restart every decision was refused, exits too."""
    journal.cannot_hold = "bad"
    journal.available = False
    for text in older:
        log.keep("w", said(text))
    assert await log.locally("w", said("exit"))
    journal.available = True
    held = [*(text for text in older if text != "bad"), "exit"]
    await until_written(journal, len(held) + 1)
    assert journal.texts[:-1] == held
    assert "AlertRaised cannot be journalled" in journal.texts[-1]
    assert log.takes_decisions is True
    await until_quiet(log)


async def test_a_local_file_of_which_the_journal_holds_all_is_cleared(
    log: Log, journal: Journal, exits: ExitLog, paper: Paper
) -> None:
    """R-072: the next start would act again on what it finds there."""
    assert await exits.put("w", said("1"))
    (record,) = read(paper.data).records
    log.found([JournalRow("main", 1, 2, record.at, "k", record.entry, "w", record.payload.encode(), b"")])
    assert log.is_quiet is False  # whoever reads the journal now would write it a second time
    async with asyncio.timeout(20 * RETRY_S):
        while paper.data:
            await asyncio.sleep(0.01)
    assert (journal.texts, log.takes_decisions, log.is_quiet) == ([], True, True)
