"""What waits in the inbox is planned whatever becomes of the same call at the holder's own door."""

from datetime import UTC, datetime

import pytest

from gateway_container.inbox_pump import Pump
from kopitra.domain.errors import Unavailable
from kopitra.domain.journal import SignalPlanned
from kopitra.store.drafts import Duplicate, IdempotencyDraft
from kopitra.store.encoding import encode
from kopitra.store.inbox import InboxDraft, put, waiting
from tests.integration.gateway.world import FIRST, WORKSPACE, Follower, house


async def test_a_row_waits_while_a_commit_of_its_signal_is_on_its_way_p1(dsn: str) -> None:
    """R-027, R-082, I-02: two replicas took the same call at once. The row has the first answer, so the holder's own
    commit is refused; the row counted as known meanwhile, and a signal that was answered by 202 was planned nowhere."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        machine, pump = world.machine, Pump(world.machine, world.db)
        signal = world.signal(side="buy", quantity=1)
        record = IdempotencyDraft("key1", "signals", "k-1", b"f" * 32, 202, lambda _seq: b"first")
        async with world.db.transaction() as another:
            await another.run("update lease set released = released")  # commits wait
            pending = machine.intake.accept(signal, lambda _plan: record)
            draft = InboxDraft("main", WORKSPACE, "signal", signal.signal_id, encode(signal), record)
            await put(world.db, draft, datetime.now(UTC))
            with pytest.raises(Unavailable):
                await pump.drain()
        with pytest.raises(Duplicate):
            await pending.committed
        await world.until(lambda: machine.log.takes_decisions, "the book")
        assert await pump.drain() == 1
        await world.holds(a=1)
        assert await waiting(world.db, "main") == []


async def test_an_entry_that_waited_is_not_opened_behind_its_leaders_exit_i10(dsn: str) -> None:
    """R-031: another replica had the entry, the holder took the exit itself: the follower was opened for good."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        entry = world.signal(side="buy", quantity=1)
        exit_ = world.signal(action="exit")
        assert entry.received_at < exit_.received_at
        record = IdempotencyDraft("hook/x", "webhooks", "k1", b"f" * 32, 202, lambda _seq: b"{}")
        draft = InboxDraft("main", WORKSPACE, "signal", entry.signal_id, encode(entry), record)
        await put(world.db, draft, datetime.now(UTC))
        await world.machine.intake.accept(exit_, None).committed

        assert await Pump(world.machine, world.db).drain() == 1

        assert await waiting(world.db, "main") == []
        planned = [e for e in await world.journal() if isinstance(e, SignalPlanned)]
        assert [e.signal.signal_id for e in planned] == [exit_.signal_id, entry.signal_id]
        assert [leg.orders for leg in planned[1].plan.legs] == [()]
        assert world.machine.state.book.leader(entry.leader, "ES").qty == 0
        assert not world.machine.state.book.orders
        # What came after it counts as ever.
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
