"""Protection and exits that come to nothing: people hear of it, and what waited goes on."""

from decimal import Decimal

import pytest

from brokers import registry
from gateway_container.engine.reports import CLOSE_WAIT_S
from kopitra.domain.journal import AlertRaised, FollowUp, RequestFailed
from kopitra.domain.signals import StopLoss
from tests.integration.gateway.world import FIRST, SECOND, Follower, house

#: a broker at which protective orders are orders of their own
PLAIN = next(code for code, a in sorted(registry().items()) if not a.capabilities.brackets)


async def test_a_stop_that_the_broker_refuses_raises_an_alert_with_its_words(dsn: str) -> None:
    async with house(dsn, {"a": Follower(PLAIN)}) as world:
        await world.send(
            side="buy", quantity=1, ord_type="limit", price=Decimal(6790), leader_order_id="o",
            stop_loss=StopLoss(price=Decimal(6700)),
        )  # fmt: skip
        await world.until(lambda: [c for c in world.open("a", "entry") if c.state == "working"], "the entry")
        await world.sim("a").control("reject-next", text="no stops today")
        await world.price("6789", "6789.25")

        alert = await world.alert("protection-missing", "a")

        assert "the stop of 1" in alert.text
        assert "no stops today" in alert.text
        stop = world.machine.state.book.orders[alert.cl_ord_id]
        assert (stop.intent.role, stop.state) == ("stop", "rejected")


async def test_a_leader_that_takes_its_newer_stop_back_leaves_no_follower_without_a_word(dsn: str) -> None:
    async with house(dsn, {"a": Follower(PLAIN)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        copies: list[str] = []
        for name, level in (("old", 6700), ("new", 6710)):
            (stop,) = await world.send(
                action="exit", side="sell", quantity=1, ord_type="stop", stop_price=Decimal(level),
                leader_order_id=name,
            )  # fmt: skip
            copies.append(stop.intent.cl_ord_id)
            await world.until(lambda stop=stop: stop.state == "working", "the stop")
        await world.until(lambda: len(world.open("a", "stop")) == 1, "the new stop alone")

        await world.send(action="cancel", leader_order_id="new")

        alert = await world.alert("protection-missing", "a")
        assert (alert.cl_ord_id, "the leader's old still rests" in alert.text) == (copies[1], True)


async def test_an_exit_that_a_halt_holds_back_raises_an_alert_and_is_not_tried_again(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.machine.control.set_switch("ws1", "account", "a", "halted", "hands off", "ann")

        (close,) = await world.send(action="exit")

        alert = await world.alert("protection-missing", "a")
        assert (alert.cl_ord_id, "lift the switch" in alert.text) == (close.intent.cl_ord_id, True)
        await world.until(lambda: world.machine.log.is_quiet, "the journal")
        told = [e for e in await world.journal() if isinstance(e, AlertRaised)]
        assert [e.code for e in told] == ["protection-missing"]
        assert len(await world.sim("a").placements("a")) == 1


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_a_close_does_not_wait_for_a_cancel_that_nobody_knows_of(dsn: str, broker: str) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.send(
            action="add", side="buy", quantity=1, ord_type="limit", price=Decimal(6700), leader_order_id="o"
        )
        (entry,) = world.open("a", "entry")
        await world.until(lambda: entry.state == "working", "the entry")
        await world.sim("a").settings(stream_silent=True, answer_500_after_execute_ratio=1.0)
        await world.send(action="exit")
        await world.journalled(lambda e: isinstance(e, RequestFailed), "the cancel that nobody knows of")
        close = await world.journalled(lambda e: isinstance(e, FollowUp) and e.released, "the close")
        assert isinstance(close, FollowUp)
        assert close.cause == entry.intent.cl_ord_id  # not its own second

        await world.sim("a").settings(stream_silent=False, answer_500_after_execute_ratio=0.0)
        await world.alert("cancel-unknown", "a")
        await world.until(lambda: world.held("a") == 0, "the fill of the close")
        assert await world.sim("a").net("a") == 0
        await world.no_order_is_doubled()


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_a_close_waits_one_second_for_cancels_that_are_not_answered(dsn: str, broker: str) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.send(
            action="add", side="buy", quantity=1, ord_type="limit", price=Decimal(6700), leader_order_id="o"
        )
        await world.until(lambda: [c for c in world.open("a", "entry") if c.state == "working"], "the entry")
        await world.sim("a").settings(stream_silent=True, ack_delay_ms=60_000)
        clock = world.machine.state.clock
        before_ns = clock.monotonic_ns()
        children = await world.send(action="exit")
        close = next(c for c in children if c.intent.role == "exit")
        assert close.state == "planned"

        await world.until(lambda: close.state != "planned", "the close, cancel or no cancel")

        waited_s = (clock.monotonic_ns() - before_ns) / 1e9
        assert close.state == "claimed"
        assert waited_s >= CLOSE_WAIT_S
        released = await world.journalled(lambda e: isinstance(e, FollowUp) and e.released, "the close")
        assert isinstance(released, FollowUp)
        assert released.cause == close.intent.cl_ord_id  # its own second, not the cancel's fate
        await world.sim("a").settings(stream_silent=False, ack_delay_ms=0)
