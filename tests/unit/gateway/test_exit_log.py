"""What a start makes of the exits that a predecessor left behind: once each, and no leader is moved back by them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from gateway_container.engine.exit_file import RECORDS_MAX, ExitLog, Owner
from kopitra.domain.errors import LeaseLost, QueueFull, Unavailable
from kopitra.domain.fold import fold
from kopitra.domain.journal import AlertRaised, FollowUp, SignalPlanned
from kopitra.domain.reducing import reducing
from kopitra.store.drafts import Committed, Draft, Duplicate, IdempotencyRecord
from kopitra.store.encoding import Decoder
from tests.unit.domain.copy_world import World, d, rule


class Paper:
    """A file in memory; the lease ends when told."""

    def __init__(self) -> None:
        self.data = b""
        self.kept = b""
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

    async def set_aside(self, label: str) -> str:
        self.data, self.kept = b"", self.data
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
        self.drafts.append(draft)
        return Committed((), ())

    async def before(self, turn: int) -> None:
        self.turns.append(turn)

    @property
    def entries(self) -> list[str]:
        return [draft.entry for draft in self.drafts]


def log(paper: Paper, epoch: int) -> ExitLog:
    return ExitLog(paper, Owner("main", epoch), paper, paper)


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
        await successor.load()
        await successor.bring(rows.append, rows.before)
        assert (successor.waiting, paper.data) == (0, b"")
    assert rows.entries == ["SignalPlanned"]
    assert rows.drafts[0].signal_id == planned.signal.signal_id


async def test_after_another_holder_only_the_orders_of_a_plan_are_facts() -> None:
    """R-072: a plan that was overtaken must not move its leader back; what was sent is known all the same."""
    paper, rows = Paper(), Rows()
    _, planned = an_exit()
    await log(paper, 3).put("w", planned)
    for _ in range(2):
        successor = log(paper, 5)
        await successor.load()
        left = paper.data
        await successor.bring(rows.append, rows.before)
        paper.data = left
    assert rows.entries == ["FollowUp"]
    other = World([rule("a1")])
    fold(other.book, successor_entry(rows))
    assert {o.intent.cl_ord_id for o in other.book.orders.values()} == {
        o.intent.cl_ord_id for leg in planned.plan.legs for o in leg.orders
    }
    assert other.book.leaders == {}


def successor_entry(rows: Rows) -> FollowUp:
    return Decoder(FollowUp)(rows.drafts[0].payload)


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
    said = " ".join(await successor.load())
    assert successor.waiting == 0
    assert "left alone" in said
    assert paper.kept
