"""R-059, R-060: a process that takes a shard over counts what was sent before it, as far as the journal tells."""

import asyncio
from datetime import datetime, timedelta
from typing import cast

from gateway_container.engine.spending import LATELY, PAGES_MAX, spent_lately
from gateway_container.engine.state import State
from kopitra.domain.journal import Entry, OrdersSent, SentFact, SignalPlanned
from kopitra.domain.signals import StopLoss
from kopitra.store.drafts import JournalRow
from kopitra.store.encoding import encode
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import Shelf
from tests.unit.domain.copy_world import NOW, World, account, d, rule

NS = 1_000_000_000
#: this process has run so long
UP_NS = 500 * NS


class HandClock:
    """Stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic_ns(self) -> int:
        return UP_NS


class Pages:
    """A journal of so many rows, the last ones as given: (seconds ago, entry)."""

    def __init__(self, *entries: tuple[float, Entry], before: int = 0, before_s: float = 3600.0) -> None:
        quiet = SignalPlanned.__name__
        self.rows = [
            JournalRow("main", n + 1, 1, NOW - timedelta(seconds=before_s), "", quiet, "", b"", b"")
            for n in range(before)
        ]
        for ago_s, entry in entries:
            at = NOW - timedelta(seconds=ago_s)
            name, seq = type(entry).__name__, len(self.rows) + 1
            self.rows.append(JournalRow("main", seq, 1, at, "", name, "", encode(entry), b""))
        self.asked = 0

    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        assert shard == "main"
        assert 0 < limit <= PAGE_ROWS_MAX
        self.asked += 1
        return self.rows[after : after + limit]


def ago(world: World, pages: Pages) -> dict[str, list[float]]:
    """Account -> seconds since each of its requests."""
    state = State(HandClock())
    state.book, state.book.seq = world.book, len(pages.rows)
    found = asyncio.run(spent_lately(cast(Shelf, pages), "main", state))
    return {name: sorted((UP_NS - at) / NS for at in times) for name, times in found.items()}


def sent(*names: str, moves: str | None = None) -> OrdersSent:
    """The bytes of these left."""
    return OrdersSent("l", tuple(SentFact(name, 0, 0, 0, orig_cl_ord_id=moves) for name in names))


def two() -> tuple[World, str, str]:
    """Two followers have an order each."""
    world = World([rule("a1"), rule("a2")])
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1))
    return world, world.child(account_id="a1").intent.cl_ord_id, world.child(account_id="a2").intent.cl_ord_id


def test_r059_orders_cancels_and_moves_of_the_last_minute_count_for_their_accounts() -> None:
    world, first, second = two()
    pages = Pages((61, sent(first)), (59, sent(first, second)), (20, sent("r1", moves=first)), (0, sent("x")))
    assert ago(world, pages) == {"a1": [20, 59], "a2": [59]}


def test_r059_a_bracket_is_one_request_and_a_move_of_its_stop_another() -> None:
    world = World([rule()], {"a1": account(brackets=True)})
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1), stop_loss=StopLoss(d(4900)))
    stop = world.child("stop")
    assert stop.attached
    entry, name = world.child().intent.cl_ord_id, stop.intent.cl_ord_id
    assert ago(world, Pages((5, sent(entry, name)), (4, sent("r1", moves=name)))) == {"a1": [4, 5]}


def test_r060_what_is_claimed_and_not_known_as_sent_may_have_left_at_the_very_end() -> None:
    world = World([rule()])
    world.write = lambda intents: None  # the process dies before it can say so
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1))
    assert world.child().state == "claimed"
    assert ago(world, Pages((30, sent("other")))) == {"a1": [0]}
    world.end(world.child(), "rejected")
    assert ago(world, Pages((30, sent("other")))) == {}


def test_r059_rows_of_a_clock_that_is_ahead_count_as_now_and_not_as_later() -> None:
    world, first, _ = two()
    assert ago(world, Pages((-5, sent(first)))) == {"a1": [0]}


def test_no_more_pages_are_read_than_the_minute_and_the_limit_ask_for() -> None:
    world, first, _ = two()
    old = Pages((5, sent(first)), before=3 * PAGE_ROWS_MAX)
    assert ago(world, old) == {"a1": [5]}
    assert old.asked == 1
    busy = Pages((5, sent(first)), before=3 * PAGE_ROWS_MAX, before_s=LATELY.total_seconds() / 2)
    assert ago(world, busy) == {"a1": [5]}
    assert busy.asked == 4
    endless = Pages(before=(PAGES_MAX + 2) * PAGE_ROWS_MAX, before_s=1)
    assert ago(world, endless) == {}
    assert endless.asked == PAGES_MAX
    assert ago(World([rule()]), Pages()) == {}
