"""R-053, R-054: an account whose broker does not answer, on real wires."""

import pytest

from kopitra.domain.journal import OrdersSent
from kopitra.ports import NotSent
from tests.integration.gateway.world import FIRST, SECOND, Follower, World, house

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def break_down(world: World, account_id: str) -> None:
    for number in range(5):
        world.machine.fanout.look.breakers.failed(account_id, f"lost {number}")


async def test_r054_an_open_breaker_refuses_entries_of_its_account_and_lets_its_exits_pass(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        break_down(world, "a")
        more = await world.send(action="add", side="buy", quantity=1)
        assert {c.intent.account_id: c.reason for c in more if c.intent.account_id == "a"} == {
            "a": "breaker_open"
        }
        await world.holds(a=1, b=2)
        await world.alert("breaker-open", "a")
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        assert world.machine.fanout.look.breakers.state("a") == "closed"


async def test_r053_one_read_closes_it_again_when_the_broker_answers(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        break_down(world, "a")
        breakers = world.machine.fanout.look.breakers
        assert breakers.state("a") == "open"
        await world.until(lambda: breakers.state("a") == "closed", "the probe's success")
        await world.alert("breaker-closed", "a")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)


async def test_r053_lost_answers_count_and_business_refusals_do_not(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        breakers = world.machine.fanout.look.breakers
        await world.sim("b").settings(reject_ratio=1.0)
        for _ in range(6):
            refused = await world.send(side="buy", quantity=1)
            await world.until(
                lambda refused=refused: all(c.state != "claimed" for c in refused), "answers to all"
            )
        assert breakers.state("b") == "closed"
        for _ in range(4):
            breakers.failed("a", "lost")
        await world.sim("a").settings(stream_silent=True, drop_answer_ratio=1.0)
        doubted = await world.send(action="add", side="buy", quantity=1)
        child = next(c for c in doubted if c.intent.account_id == "a")
        await world.until(lambda: child.state == "in_doubt", "doubt")
        assert breakers.state("a") == "open"
        assert isinstance(breakers.hold("a", "x") or breakers.hold("a", "y"), NotSent)


async def test_r066_nothing_is_assumed_canceled_when_a_session_drops(dsn: str) -> None:
    """A stop rests on after the line fell: it stays working in the book, and is there when the session comes back."""
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1, stop_loss={"price": "6700"})
        await world.holds(a=1, b=1)
        stops = {a: (await world.working(a, 1))[0] for a in ONE_EACH}
        for account_id in ONE_EACH:
            await world.sim(account_id).control("drop-streams")
        await world.until(
            lambda: all(world.machine.state.facts_of(a).live for a in ONE_EACH), "live sessions again"
        )
        assert {stop.state for stop in stops.values()} <= {"acked", "working"}
        for account_id in ONE_EACH:
            assert len(await world.sim(account_id).live(account_id)) == 1
        await world.send(action="exit")
        await world.holds(a=0, b=0)


async def test_r049_an_entry_that_cannot_leave_in_time_is_skipped_with_no_byte_written(dsn: str) -> None:
    """R-048: the queue of one account waits for nobody; its neighbour has its order at once."""
    async with house(dsn, ONE_EACH) as world:
        await world.sim("a").settings(ack_delay_ms=10_000)
        sent = [await world.send(action="add", side="buy", quantity=1) for _ in range(20)]
        await world.holds(b=20)
        mine = [next(c for c in children if c.intent.account_id == "a") for children in sent]
        await world.until(lambda: all(c.state != "claimed" or "sent" in c.hops for c in mine), "deadlines")
        late = [c for c in mine if c.state == "skipped"]
        assert {c.reason for c in late} == {"deadline"}
        assert world.machine.fanout.missed == {"a": len(late)}
        written = [row.cl_ord_id for row in await world.sim("a").placements("a")]
        assert not {c.intent.cl_ord_id for c in late} & set(written)
        await world.sim("a").settings(ack_delay_ms=0)


async def test_r060_the_permit_of_an_open_breaker_goes_to_exits_then_to_cancels_and_to_moves_last(
    dsn: str,
) -> None:
    """R-054: they were asked for in the opposite order, so that a leader that trails its stop starves no exit."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        resting: list[str] = []
        for name in ("L1", "L2"):
            [child] = await world.send(
                side="buy", quantity=1, ord_type="limit", price="6700", leader_order_id=name
            )
            await world.until(lambda child=child: child.state == "working", "a resting entry")
            resting.append(child.intent.cl_ord_id)
        break_down(world, "a")
        breakers = world.machine.fanout.look.breakers
        assert breakers.hold("a", "before them") is None
        await world.send(action="replace", leader_order_id="L1", price="6701")
        await world.send(action="cancel", leader_order_id="L2")
        [close] = await world.send(action="reduce", quantity=1)
        assert world.machine.fanout.queued("a") == 1
        await world.holds(a=1)
        await world.until(lambda: breakers.state("a") == "closed", "the exit's answer")

        await world.journalled(
            lambda e: isinstance(e, OrdersSent) and any(f.orig_cl_ord_id == resting[0] for f in e.sent),
            "the move",
        )
        facts = [fact for e in await world.journal() if isinstance(e, OrdersSent) for fact in e.sent]
        about = [fact.orig_cl_ord_id or fact.cl_ord_id for fact in facts]
        assert about[-3:] == [close.intent.cl_ord_id, resting[1], resting[0]]


async def test_r050_an_exit_that_found_no_room_in_its_queue_is_made_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_container.engine.queue.WAITING_MAX", 1)
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=3)
        await world.holds(a=3)
        break_down(world, "a")
        assert world.machine.fanout.look.breakers.hold("a", "before them") is None
        await world.send(action="reduce", quantity=1)
        [late] = await world.send(action="reduce", quantity=1)
        assert (late.state, late.reason) == ("skipped", "queue_full")
        await world.alert("exit-pending", "a")
        await world.holds(a=1)
        await world.until(lambda: not world.machine.state.book.pending_exits, "nothing left to close")
        assert await world.sim("a").net("a") == 1
