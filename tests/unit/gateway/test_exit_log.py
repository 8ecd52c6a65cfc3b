"""What a start makes of the exits that a predecessor left behind: once each, and no leader is moved back by them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from gateway_container.engine.exit_file import RECORDS_MAX, ExitLog, Owner
from kopitra.domain.errors import LeaseLost, QueueFull, Unavailable
from kopitra.domain.journal import AlertRaised, FlattenNoted, SignalPlanned
from kopitra.domain.reducing import reducing
from kopitra.store.drafts import Committed, Draft, Duplicate, IdempotencyRecord, JournalRow
from kopitra.store.exit_records import read
from tests.unit.domain.copy_world import World, d, rule


class Paper:
    """A file in memory; the lease ends when told."""

    def __init__(self) -> None:
        self.data = b""
        self.kept = b""
        #: happens while the file is copied
        self.meanwhile: Callable[[], object] = lambda: None
        self.exits_until_ns = 10

    def append(self, frame: bytes) -> asyncio.Future[bool]:
        self.data += frame
        done = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def load(self) -> bytes:
        return self.data

    async def clear(self) -> None:
        self.data = b""

    async def copy_aside(self, label: str) -> str:
        self.kept = self.data
        self.meanwhile()
        return label

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 15, 0, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 5


class Rows:
    """A journal that takes a record once."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.turns: list[int] = []
        self.away = False
        #: rows that it takes before it is away
        self.room = 100

    async def append(self, drafts: Sequence[Draft]) -> Committed:
        (draft,) = drafts
        if self.away:
            raise Unavailable("away")
        assert draft.idempotency is not None
        key = draft.idempotency.key
        if any(known.idempotency is not None and known.idempotency.key == key for known in self.drafts):
            raise Duplicate(
                "again",
                IdempotencyRecord("w", "p", "e", key, b"", 200, b"", datetime(2026, 11, 20, tzinfo=UTC)),
            )
        if len(self.drafts) == self.room:
            raise Unavailable("away")
        self.drafts.append(draft)
        return Committed((), ())

    async def before(self, turn: int) -> None:
        self.turns.append(turn)

    @property
    def entries(self) -> list[str]:
        return [draft.entry for draft in self.drafts]


def log(paper: Paper, epoch: int) -> ExitLog:
    return ExitLog(paper, Owner("main", epoch), paper, paper)


def no_space() -> None:
    raise OSError("no space left")


def an_exit() -> tuple[World, SignalPlanned]:
    """A leader's exit that a follower must follow."""
    world = World([rule("a1")])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    made = world.say("exit")
    told = next(e for e in reversed(world.journal) if isinstance(e, SignalPlanned))
    return world, SignalPlanned(told.signal, reducing(made, world.book))


async def test_the_next_holder_takes_a_plan_as_it_is_and_only_once() -> None:
    """R-072: same names in every process; a crash between import and clearing changes nothing."""
    paper, rows = Paper(), Rows()
    _, planned = an_exit()
    await log(paper, 3).put("w", planned, planned.signal.signal_id)
    left = paper.data
    for _ in range(2):
        paper.data = left
        successor = log(paper, 4)
        await successor.load(None)
        await successor.bring(rows.append, rows.before)
        assert (successor.waiting, paper.data) == (0, b"")
    assert rows.entries == ["SignalPlanned"]
    assert rows.drafts[0].signal_id == planned.signal.signal_id


def row(epoch: int, entry: str, payload: str = "{}") -> JournalRow:
    """The journal's last one."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    return JournalRow("main", 9, epoch, at, "k", entry, "w", payload.encode(), b"")


async def test_after_another_holder_nothing_of_an_old_file_acts_again() -> None:
    """R-072, R-021: it has read what became of the exits at the brokers and traded on; people get the file."""
    paper, rows = Paper(), Rows()
    _, planned = an_exit()
    left = log(paper, 3)
    for entry in (planned, FlattenNoted("f1", "a1", "requested", "", "ann"), AlertRaised("test", "one")):
        await left.put("w", entry)
    data = paper.data
    successor = log(paper, 5)
    said = " ".join(await successor.load(row(4, "Heartbeat")))
    assert ("3 exits are left alone" in said, successor.waiting) == (True, 0)
    assert "kept as" in " ".join(await successor.bring(rows.append, rows.before))
    assert (rows.entries, paper.kept, paper.data) == ([], data, b"")


@pytest.mark.parametrize("brought", [0, 1, 2])
async def test_a_start_that_went_no_further_than_the_file_leaves_it_to_the_next_one(brought: int) -> None:
    """R-072: it took a lease and traded nothing, so that nothing in the file is overtaken."""
    paper, rows = Paper(), Rows()
    exits = log(paper, 3)
    for text in ("one", "two"):
        await exits.put("w", AlertRaised("test", text))
    left = paper.data
    failed, before = log(paper, 4), row(3, "Heartbeat")
    await failed.load(before)
    rows.room = brought
    with contextlib.suppress(Unavailable):
        await failed.bring(rows.append, rows.before)
    rows.room, paper.data = 100, left  # as if it had died before it was cleared
    newest = row(4, rows.drafts[-1].entry, rows.drafts[-1].payload.decode()) if brought else before
    successor = log(paper, 5)
    await successor.load(newest)
    assert successor.waiting == 2
    await successor.bring(rows.append, rows.before)
    assert (rows.entries, paper.data, paper.kept) == (["AlertRaised"] * 2, b"", b"")


async def test_an_exit_that_is_put_while_the_file_is_kept_aside_outlives_a_crash() -> None:
    """R-072: it is in the file until the journal has it."""
    paper, rows = Paper(), Rows()
    await log(paper, 3).put("w", AlertRaised("test", "one"))
    successor = log(paper, 4)
    paper.data = b"?" + paper.data
    await successor.load(None)
    paper.meanwhile = lambda: successor.put("w", AlertRaised("test", "two"))
    await successor.bring(rows.append, rows.before)
    assert (rows.entries, successor.waiting, paper.data) == (["AlertRaised"] * 2, 0, b"")


async def test_a_file_of_which_the_journal_holds_all_is_stale_until_it_is_cleared() -> None:
    """R-072: the rows have no names of the file, so a start would take the records in again."""
    paper, rows = Paper(), Rows()
    exits = log(paper, 3)
    for flatten_id in ("f1", "f2"):
        await exits.put("w", FlattenNoted(flatten_id, "a1", "requested", "", "ann"))
    one, two = (row(3, record.entry, record.payload) for record in read(paper.data).records)
    exits.found([one])
    assert (exits.waiting, exits.is_stale) == (1, False)
    exits.found([two])
    assert (exits.waiting, exits.is_stale) == (0, True)
    assert await exits.bring(rows.append, rows.before) == []
    assert (rows.entries, paper.data, exits.is_stale) == ([], b"", False)


async def test_a_file_that_could_not_be_kept_aside_is_not_asked_for_again_and_again() -> None:
    """R-072: it stays for a person; each further try would only tell the same."""
    paper, rows = Paper(), Rows()
    await log(paper, 3).put("w", AlertRaised("test", "one"))
    paper.data = b"?" + paper.data
    exits = log(paper, 4)
    await exits.load(None)
    await exits.put("w", AlertRaised("test", "two"))
    paper.meanwhile = no_space
    assert "could not be kept aside" in " ".join(await exits.bring(rows.append, rows.before))
    assert (exits.waiting, exits.is_stale, bool(paper.data)) == (0, False, True)


async def test_an_import_that_is_cut_short_goes_on_where_it_stopped() -> None:
    """R-072."""
    paper, rows = Paper(), Rows()
    exits = log(paper, 1)
    for text in ("one", "two"):
        await exits.put("w", AlertRaised("test", text))
    rows.away = True
    with pytest.raises(Unavailable):
        await exits.bring(rows.append, rows.before)
    assert (exits.waiting, bool(paper.data)) == (2, True)
    rows.away = False
    await exits.bring(rows.append, rows.before)
    assert (rows.entries, paper.data) == (["AlertRaised"] * 2, b"")


async def test_nothing_is_written_past_the_grace_but_the_last_word() -> None:
    """R-073."""
    paper = Paper()
    exits = log(paper, 1)
    paper.exits_until_ns = 5
    with pytest.raises(LeaseLost):
        await exits.put("w", AlertRaised("test", ""))
    exits.last_word(AlertRaised("exits-stopped", "over"))
    assert b"exits-stopped" in paper.data


async def test_a_full_file_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-072, I-24."""
    assert RECORDS_MAX > 1
    monkeypatch.setattr("gateway_container.engine.exit_file.RECORDS_MAX", 1)
    exits = log(Paper(), 1)
    await exits.put("w", AlertRaised("test", ""))
    with pytest.raises(QueueFull, match="full"):
        await exits.put("w", AlertRaised("test", ""))


async def test_records_of_another_shard_or_a_later_time_are_left_alone() -> None:
    """R-072: a file that is not ours is kept for a person."""
    paper = Paper()
    await log(paper, 9).put("w", AlertRaised("test", ""))
    successor = log(paper, 9)
    said = " ".join(await successor.load(None))
    assert successor.waiting == 0
    assert "left alone" in said
    await successor.bring(Rows().append, Rows().before)
    assert paper.kept
