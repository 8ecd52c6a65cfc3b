"""A flatten where the broker's list of orders does not read: what is held is closed all the same (P9, R-094)."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from brokers import registry
from gateway_container.engine import flatten_run
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import ReadLane
from kopitra.wire.views import FlattenAccountView
from tests.integration.gateway.flattens import begun, closes
from tests.integration.gateway.partial_reads import without_orders
from tests.integration.gateway.test_flattens_at_work import BOTH, traded
from tests.integration.gateway.world import Follower, World, house

NATIVE = next(code for code, a in sorted(registry().items()) if a.capabilities.closes_position)
PLAIN = next(
    code
    for code, a in sorted(registry().items())
    if not (a.capabilities.closes_position or a.capabilities.reduce_only)
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closes are too slow after a fifth of a second."""
    monkeypatch.setattr(flatten_run, "PATIENCE_S", (0.2,))


def unread(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on no read tells orders; the reads of the flatten, by their number of positions."""
    reads: list[int] = []

    def told(lane: ReadLane, found: AccountSnapshot) -> None:
        if lane == "flatten":
            reads.append(len(found.positions or ()))

    without_orders(world, monkeypatch, told)
    return reads


async def held_unread(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two contracts are held, and from now on no read tells orders."""
    await world.send(side="buy", quantity=2)
    await world.holds(a=2)
    return unread(world, monkeypatch)


async def flat_once_read(
    world: World, asked: Callable[[], FlattenAccountView], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list reads again, and what was bought was sold once."""
    monkeypatch.undo()
    await world.until(lambda: asked().state == "flat_confirmed", "flat once the list reads")
    assert await traded(world) == [("buy", 2), ("sell", 2)]


@BOTH
async def test_what_is_held_is_closed_and_the_account_is_not_called_flat(
    dsn: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2, stop_loss={"offset": Decimal(10)})
        await world.holds(a=2)
        await world.working("a", 1)
        unread(world, monkeypatch)
        asked = await begun(world)
        await world.until(lambda: "0 orders to cancel, 0 positions" in asked().detail, "closed")
        assert await traded(world) == [("buy", 2), ("sell", 2)]
        await world.working("a", 0)
        assert len(closes(world)) == 1
        assert asked().state == "pending"
        assert "cannot be read" in asked().detail
        monkeypatch.undo()
        await world.until(lambda: asked().state == "flat_confirmed", "flat once the list reads")
        assert len(closes(world)) == 1


@pytest.mark.usefixtures("impatient")
async def test_r094_a_close_without_an_answer_is_not_followed_by_another_one(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-012, R-094, R-095: it may live at a broker that would turn the position, and no list speaks against it."""
    async with house(dsn, {"a": Follower(PLAIN)}) as world:
        reads = await held_unread(world, monkeypatch)
        await world.sim("a").settings(stream_silent=True, drop_answer_ratio=1.0, fill_delay_ms=3_000)
        asked = await begun(world)
        await world.until(lambda: closes(world), "a close on its way")
        (close,) = closes(world)
        await world.until(lambda: close.intent.cl_ord_id in asked().detail, "people are told")
        await world.until(lambda: 0 in reads, "its late fill")
        assert sum(1 for count in reads if count) > 3
        assert [order.order_id for order in closes(world)] == [None]
        assert await world.sim("a").net("a") == 0
        assert asked().state == "pending"
        await world.sim("a").settings(stream_silent=False, drop_answer_ratio=0.0, fill_delay_ms=0)
        await flat_once_read(world, asked, monkeypatch)


@pytest.mark.usefixtures("impatient")
async def test_r094_a_close_that_a_person_has_parked_holds_up_no_other(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-009, R-094: who looked at the broker says that it is dealt with; what is still held is closed."""
    async with house(dsn, {"a": Follower(PLAIN)}) as world:
        reads = await held_unread(world, monkeypatch)
        await world.sim("a").settings(drop_request_ratio=1.0)
        asked = await begun(world)
        await world.until(lambda: [c.state for c in closes(world)] == ["in_doubt"], "a close in doubt")
        (close,) = closes(world)
        seen = len(reads)
        await world.until(lambda: len(reads) > seen + 3, "more reads")
        assert closes(world) == [close]
        await world.sim("a").settings(drop_request_ratio=0.0)
        world.machine.doubts.park("ws1", close.intent.cl_ord_id, "ann", "it is not there")
        await world.holds(a=0)
        await flat_once_read(world, asked, monkeypatch)


@pytest.mark.usefixtures("impatient")
@BOTH
async def test_r012_a_leaders_exit_without_an_answer_is_waited_for(
    dsn: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-012, R-095: also where a flatten closes natively, because a copied exit does not."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        reads = await held_unread(world, monkeypatch)
        await world.sim("a").settings(drop_request_ratio=1.0)
        (exit_,) = await world.send(action="exit")
        await world.until(lambda: exit_.hops, "its write")
        asked = await begun(world)
        await world.until(lambda: exit_.intent.cl_ord_id in asked().detail, "people are told")
        await world.until(lambda: len(reads) > 3, "reads")
        assert not closes(world)
        await world.sim("a").settings(drop_request_ratio=0.0)
        await flat_once_read(world, asked, monkeypatch)


@pytest.mark.usefixtures("impatient")
async def test_r094_a_native_close_without_an_answer_is_followed_by_another_one(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094: the broker itself closes no more than there is."""
    async with house(dsn, {"a": Follower(NATIVE)}) as world:
        await held_unread(world, monkeypatch)
        await world.sim("a").settings(drop_request_ratio=1.0)
        await begun(world)
        await world.until(lambda: len(closes(world)) > 1, "another close")
        await world.sim("a").settings(drop_request_ratio=0.0)
        await world.until(lambda: world.held("a") == 0, "closed")
        assert await traded(world) == [("buy", 2), ("sell", 2)]


@pytest.mark.usefixtures("impatient")
@BOTH
async def test_r094_a_close_that_was_too_slow_is_followed_only_when_its_end_is_known(
    dsn: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094: the book stands in for the list, also when the broker has canceled and the event of it is lost."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        sim, reads = world.sim("a"), await held_unread(world, monkeypatch)
        await sim.settings(fill_delay_ms=60_000, stream_silent=True)
        asked = await begun(world)
        await world.until(lambda: closes(world) and closes(world)[0].order_id, "a close at work")
        seen = len(reads)
        await world.until(lambda: len(reads) > seen + 3, "more reads")
        assert [order.order_id is not None for order in closes(world)] == [True]
        assert [row.outcome for row in await sim.ledger("cancel")][:1] == ["accepted"]
        await sim.settings(fill_delay_ms=0, stream_silent=False)
        await flat_once_read(world, asked, monkeypatch)
