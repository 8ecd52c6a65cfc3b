"""R-057, R-059 to R-063, R-070 on real wires: shared budgets, moves that come too fast, silent streams, clocks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import httpx2
import pytest
from prometheus_client import generate_latest

from brokers import registry
from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from kopitra.domain.errors import Throttled
from kopitra.domain.instruments import front_month
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import StopLoss, TakeProfit
from kopitra.ports import SimAccount
from tests.integration.gateway.simulated import PATIENCE_S, Simulated
from tests.integration.gateway.world import (
    BOSS,
    FIRST,
    LEADER,
    SECOND,
    WORKSPACE,
    Follower,
    Street,
    World,
    engine,
    house,
    rule,
    street,
)

NAMES = ("a", "b", "c", "d", "e")
QUICK = RiskLimits(max_orders_per_minute=1_000)


@asynccontextmanager
async def one_login(broker: str) -> AsyncGenerator[Street]:
    """Five followers behind one login."""
    adapter = registry()[broker]
    async with AsyncExitStack() as stack:
        wanted = {"user": [SimAccount(f"SIM{name}", Decimal(500_000), {}) for name in NAMES]}
        running = await adapter.start_simulator(host="127.0.0.1", port=0, logins=wanted, seed=7)
        stack.push_async_callback(running.stop)
        http = httpx2.AsyncClient(
            base_url=running.control_url, timeout=PATIENCE_S, trust_env=False, verify=False
        )
        stack.push_async_callback(http.aclose)
        settings, credentials = running.login("user")
        # A simulator that is meant for speed may hand out a budget without end.
        settings = {key: "80" if key.endswith("per_minute") else value for key, value in settings.items()}
        config = GatewayConfig(
            1,
            {n: AccountConfig(n, WORKSPACE, n, broker, "login", f"SIM{n}", limits=QUICK) for n in NAMES},
            {LEADER: LeaderConfig(LEADER, WORKSPACE, "leader")},
            {"login": LoginConfig("login", WORKSPACE, broker, settings, credentials)},
            {LEADER: tuple(rule(n) for n in NAMES)},
        )
        contract = front_month("ES", datetime.now(UTC).date()).symbol
        made = Street(config, {broker: Simulated(adapter, running, http)}, contract)
        await made.price("6800", "6800.25")
        yield made


def left(world: World) -> int:
    (forecast,) = world.machine.views.detail(WORKSPACE, None).forecasts
    assert (forecast.leader, forecast.followers, forecast.plain) == (LEADER, 5, 5)
    return forecast.left


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r061_when_room_is_short_the_rest_is_told_at_once_and_nobody_is_always_last(
    dsn: str, broker: str
) -> None:
    async with one_login(broker) as on, engine(dsn, on) as world:
        served: dict[str, int] = dict.fromkeys(NAMES, 0)
        children, room = list[ChildOrder](), 0
        for _ in range(60):
            room = left(world)
            children = await world.send(action="add", side="buy", quantity=1)
            sent = [c.intent.account_id for c in children if c.state != "skipped"]
            for name in sent:
                served[name] += 1
            if room < 5:
                break
            # An entry that has not filled keeps room for a close of its own, which it gives back when it fills.
            await world.until(lambda: not any(world.open(name) for name in NAMES), "entries that have filled")
        told = [c for c in children if c.state == "skipped"]
        assert room < 5
        assert len(told) > 0
        assert {c.reason for c in told} == {"rate_budget"}
        assert max(served.values()) - min(served.values()) <= 1
        # What is kept for exits is kept: all of them leave at once.
        exits = await world.send(action="exit")
        assert {c.state == "skipped" for c in exits} == {False}
        await world.no_order_is_doubled()


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r059_a_successor_counts_what_its_predecessor_sent_within_the_window(
    dsn: str, broker: str
) -> None:
    """R-060: a second windowful on top of the first would be refused by the broker, exits and all."""

    def share(world: World) -> int:
        session = world.machine.sessions.of("a")
        assert session is not None
        return session.forecast().entry_share

    async with one_login(broker) as on:
        async with engine(dsn, on) as world:
            whole = share(world)
            for _ in range(4):
                await world.send(action="add", side="buy", quantity=1)
            await world.holds(**dict.fromkeys(NAMES, 4))
        async with engine(dsn, on) as world:
            # Both have read the accounts at their start.
            assert whole - 2 * len(NAMES) * 4 <= share(world) <= whole - len(NAMES) * 4


STOP, TARGET = StopLoss(price=Decimal(6700)), (TakeProfit(price=Decimal(6900)),)


async def burst(world: World) -> list[ChildOrder]:
    """Entries with stop and target until there is no room for another; the protective orders that work then."""
    children = list[ChildOrder]()
    for _ in range(30):
        children = await world.send(action="add", side="buy", quantity=1, stop_loss=STOP, take_profits=TARGET)
        if any(child.state == "skipped" for child in children):
            break
    assert {c.reason for c in children if c.state == "skipped" and c.intent.role == "entry"} == {
        "rate_budget"
    }

    def at_rest() -> list[ChildOrder]:
        found = [child for name in NAMES for child in world.open(name)]
        return found if all(c.state in ("working", "acked") for c in found) else []

    await world.until(at_rest, "entries that have filled and protection that works")
    return at_rest()


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r060_after_a_burst_of_brackets_the_exits_of_all_leave_at_once(dsn: str, broker: str) -> None:
    """L-3: nobody waits for the window, which is a minute long, to have room again."""
    async with one_login(broker) as on, engine(dsn, on) as world:
        protection = await burst(world)
        session = world.machine.sessions.of("a")
        assert session is not None
        assert session.forecast().kept == len(protection) + len(NAMES)
        assert session.forecast().free < 4 * len(NAMES), "another bracket for each and its way out do not fit"
        exits = await world.send(action="exit")
        await world.holds(**dict.fromkeys(NAMES, 0))
        assert {c.state for c in exits} == {"filled"}
        await world.until(lambda: not any(world.open(name) for name in NAMES), "no order is left")
        assert session.forecast().kept == 0


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r060_after_a_burst_of_brackets_a_flatten_of_everything_leaves_at_once(
    dsn: str, broker: str
) -> None:
    """Its first reads are kept free as well as its cancels and closes."""
    async with one_login(broker) as on, engine(dsn, on) as world:
        assert await burst(world)
        await world.machine.control.flatten(
            FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", False, None)
        )
        (sim,) = world.sims.values()
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while [name for name in NAMES if await sim.net(name) or await sim.live(name)]:
            assert asyncio.get_running_loop().time() < deadline, "something is still open"


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r060_a_timed_read_waits_where_a_doubt_is_read_at_once(dsn: str, broker: str) -> None:
    """Comparisons and looks at silent streams use the lane of polls, which leaves room; doubts and recovery do not."""
    async with one_login(broker) as on, engine(dsn, on) as world:
        session = world.machine.sessions.of("a")
        assert session is not None
        session.keep(lambda: 1_000_000)
        with pytest.raises(Throttled):
            await session.snapshot("a", None, lane="status")
        assert (await session.snapshot("a", None)).positions == ()


async def test_r063_moves_of_one_order_leave_once_a_second_and_the_newest_wins(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST), "b": Follower(SECOND)}) as world:
        limit = {"side": "buy", "quantity": 1, "ord_type": "limit", "leader_order_id": "L1"}
        children = await world.send(price=Decimal(6780), **limit)
        await world.until(lambda: all(c.state == "working" for c in children), "two working orders")
        for price in range(6781, 6789):
            await world.send(action="replace", leader_order_id="L1", price=Decimal(price))
        await world.until(
            lambda: all(c.price == 6788 and not c.replace_sent for c in children), "the newest price"
        )
        for sim in world.sims.values():
            moves = [row for row in await sim.ledger("replace") if row.outcome == "accepted"]
            assert len(moves) == 2, "the first at once, the newest a second later"


async def test_r055_health_tells_operators_how_an_account_is_served(dsn: str) -> None:
    """R-052, R-055: service time, queue, missed deadlines and the breaker, by account."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        (account,) = world.machine.views.detail(WORKSPACE, None).accounts
        assert (account.breaker, account.queued, account.deadline_misses) == ("closed", 0, 0)
        # The stream may tell of the fill before the request's own answer, which is what is measured, comes.
        await world.until(
            lambda: (world.machine.views.detail(WORKSPACE, None).accounts[0].service_us or 0) > 0,
            "a service time",
        )
        shown = generate_latest(world.machine.supplies.metrics.registry).decode()
        assert 'kopitra_account_breaker_open{account="a"} 0.0' in shown
        assert "kopitra_account_service_seconds" in shown


async def test_r070_our_clock_is_compared_with_the_database_and_the_brokers(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST), "b": Follower(SECOND)}) as world:
        ahead_ms = world.machine.safety.clocks.ahead_ms
        await world.until(
            lambda: {"the database", FIRST, SECOND} <= set(ahead_ms), f"three clocks, not {ahead_ms}"
        )
        assert max(abs(ms) for ms in ahead_ms.values()) < 2_000
        assert not world.machine.state.wall_clock_off


async def test_r070_a_broker_clock_ten_minutes_off_is_contained_and_told(dsn: str) -> None:
    """It dates the trades of a leader there, whose entries stop, and of nobody else: an EA's entry goes to both."""
    followers = {"a": Follower(FIRST), "b": Follower(SECOND), "c": Follower(SECOND)}
    async with street(followers, leader_at=FIRST) as on:
        *rules, of_boss = on.config.rules[LEADER]
        on.config = replace(
            on.config,
            leaders={
                LEADER: LeaderConfig(LEADER, WORKSPACE, "by EA"),
                "by-hand": LeaderConfig("by-hand", WORKSPACE, "by hand", BOSS),
            },
            rules={LEADER: tuple(rules), "by-hand": (replace(of_boss, leader="by-hand"),)},
        )
        await on.sims[FIRST].control("clock", skew_s=-600)
        async with engine(dsn, on) as world:
            await world.alert("clock-off")
            ahead_ms = world.machine.safety.clocks.ahead_ms
            await world.until(lambda: ahead_ms.get(FIRST, 0) > 590_000, "ten minutes")
            await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 1)
            await world.until(
                lambda: "by-hand" in [leader for leader, _ in world.machine.state.book.leaders],
                "the leader's own trade",
            )
            await world.send(side="buy", quantity=1)
            await world.holds(a=1, b=1)
            told = [e for e in await world.journal() if isinstance(e, SignalPlanned)]
            (stopped,) = next(e.plan.legs for e in told if e.signal.leader == "by-hand")
            assert (stopped.account_id, stopped.reason, stopped.orders) == ("c", "clock_off", ())
            assert await world.sim("c").placements("c") == []


async def test_r057_an_order_of_which_nothing_is_heard_is_asked_for(dsn: str) -> None:
    """The stream is up and silent: the fill is found by a read, long before anybody misses it."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.sim("a").settings(stream_silent=True)
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
