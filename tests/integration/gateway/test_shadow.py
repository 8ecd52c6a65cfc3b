"""Shadow accounts: the whole way of a signal, and nothing leaves: neither a byte on the line nor a row in a ledger."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.config import AccountConfig
from gateway_container.engine.shadow import PAPER
from kopitra.domain.journal import OrdersSent, Reported, SignalPlanned
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.integration.gateway.wiretap import Wiretap
from tests.integration.gateway.world import (
    FIRST,
    LEADER,
    SECOND,
    WORKSPACE,
    Follower,
    Street,
    World,
    engine,
    rule,
    street,
)

#: a real follower and a shadow at each broker
ALL = {"ra": Follower(FIRST), "sa": Follower(FIRST), "rb": Follower(SECOND), "sb": Follower(SECOND)}
SHADOWS = ("sa", "sb")


def shadowed(on: Street, *names: str) -> None:
    """These accounts trade on paper."""
    accounts = {n: replace(a, shadow=n in names or a.shadow) for n, a in on.config.accounts.items()}
    on.config = replace(on.config, accounts=accounts)


@asynccontextmanager
async def tapped(dsn: str) -> AsyncGenerator[tuple[World, Wiretap]]:
    tap = Wiretap()
    async with street(ALL) as on:
        await tap.on(on)
        shadowed(on, *SHADOWS)
        async with engine(dsn, on) as world:
            yield world, tap
        await tap.stop()


def rests(world: World, account_id: str) -> bool:
    return any(c.intent.ord_type == "limit" and c.state == "working" for c in world.open(account_id, "entry"))


async def all_hold(world: World, qty: int) -> None:
    await world.until(
        lambda: {int(world.held(n)) for n in ALL} == {qty},
        f"{qty} each, not { {n: world.held(n) for n in ALL} }",
    )


async def trade(world: World) -> None:
    """Entry with stop and target, add, a resting order with its move and cancel, reversal, exit."""
    stop, targets = StopLoss(price=Decimal(6790)), (TakeProfit(Decimal(6900)),)
    await world.send(side="buy", quantity=1, stop_loss=stop, take_profits=targets)
    await all_hold(world, 1)
    await world.until(lambda: all(len(world.open(n, "stop", "target")) == 2 for n in ALL), "the protection")
    await world.send(action="add", side="buy", quantity=1)
    await all_hold(world, 2)
    await world.send(
        action="add", side="buy", quantity=1, ord_type="limit", price=Decimal(6700), leader_order_id="L1"
    )
    await world.until(lambda: all(rests(world, n) for n in ALL), "the resting orders")
    await world.send(action="replace", leader_order_id="L1", price=Decimal(6701))
    await world.until(
        lambda: {c.price for n in ALL for c in world.open(n, "entry")} == {Decimal(6701)}, "the moves"
    )
    await world.send(action="cancel", leader_order_id="L1")
    await world.until(lambda: not any(rests(world, n) for n in ALL), "the cancels")
    await world.send(action="reverse", side="sell", quantity=1)
    await all_hold(world, -1)
    await world.send(action="exit")
    await all_hold(world, 0)
    await world.until(lambda: not any(world.open(n) for n in ALL), "the end of every order")


async def test_nothing_of_a_shadow_account_leaves_while_a_real_one_at_the_same_broker_trades(
    dsn: str,
) -> None:
    """Neither an id of ours on the line, nor a row in the broker's ledger, nor a position there."""
    async with tapped(dsn) as (world, tap):
        await trade(world)
        for name in SHADOWS:
            assert tap.connections(f"login-{name}") > 0
            assert tap.order_ids(f"login-{name}") == set()
            sim = world.sim(name)
            number = await sim.number(name)
            rows = [r for kind in ("placement", "cancel", "replace", "close") for r in await sim.ledger(kind)]
            assert [row for row in rows if row.account_id == number] == []
            assert await sim.net(name) == 0
        for name in ("ra", "rb"):  # the tap does hear what leaves
            assert len(tap.order_ids(f"login-{name}")) >= 5


async def test_a_shadow_goes_the_whole_way_and_its_reports_say_paper(dsn: str) -> None:
    """Planned, journalled, sent by the fan-out, told by reports like everybody's."""
    async with tapped(dsn) as (world, _tap):
        await world.send(side="buy", quantity=1)
        await all_hold(world, 1)
        journal = await world.journal()
        (planned,) = [e for e in journal if isinstance(e, SignalPlanned)]
        assert {leg.account_id: leg.outcome for leg in planned.plan.legs} == dict.fromkeys(ALL, "approved")
        ids = {leg.orders[0].intent.cl_ord_id for leg in planned.plan.legs}
        assert ids == {f.cl_ord_id for e in journal if isinstance(e, OrdersSent) for f in e.sent}
        await world.journalled(
            lambda e: (
                isinstance(e, Reported) and e.report.account_id == "sa" and e.report.exec_type == "trade"
            ),
            "the paper fill",
        )
        reports = [e.report for e in await world.journal() if isinstance(e, Reported)]
        assert all(r.order_id.startswith(PAPER) == (r.account_id in SHADOWS) for r in reports)
        shown = {a.account_id: a.shadow for a in world.machine.views.snapshot(WORKSPACE, None).accounts}
        assert shown == {n: n in SHADOWS for n in ALL}


async def test_a_flatten_closes_a_shadow_on_paper(dsn: str) -> None:
    async with tapped(dsn) as (world, tap):
        await world.send(side="buy", quantity=1)
        await all_hold(world, 1)
        order = FlattenOrder(WORKSPACE, "account", "sa", "test", "ann", False, None)
        view = await world.machine.control.flatten(order)

        def done() -> bool:
            shown = world.machine.control.flatten_progress(WORKSPACE, view.flatten_id)
            return shown is not None and shown.done

        await world.until(done, "the end of the flatten")
        assert (world.held("sa"), world.held("sb")) == (0, 1)
        assert tap.order_ids("login-sa") == set()


async def test_what_rests_on_paper_rests_after_a_restart_and_no_id_comes_twice(dsn: str) -> None:
    """The paper position is the book's; a stop of before fills after."""
    async with street({"sa": Follower(FIRST)}) as on:
        shadowed(on, "sa")
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=1, stop_loss=StopLoss(price=Decimal(6790)))
            await world.until(lambda: world.held("sa") == 1, "the entry")
            await world.until(lambda: world.open("sa", "stop"), "the stop")
            await world.until(lambda: world.open("sa", "stop")[0].state == "working", "a stop that works")
        async with engine(dsn, on) as world:
            assert world.held("sa") == 1
            await world.send(action="add", side="buy", quantity=1)
            await world.until(lambda: world.held("sa") == 2, "the second entry")
            world.machine.state.best.clear()
            world.machine.state.price_seen(world.contract, Decimal(6789))
            await world.until(lambda: world.held("sa") <= 1, "the stop's fill")
            assert await world.sim("sa").ledger("placement") == []


async def test_a_shadow_needs_no_login(dsn: str) -> None:
    """No session exists: the orders end on paper all the same; without a price they rest."""
    async with street({"ra": Follower(FIRST)}) as on:
        paper = AccountConfig("p", WORKSPACE, "p", "", "", "", shadow=True)
        on.config = replace(
            on.config,
            accounts={**on.config.accounts, "p": paper},
            rules={LEADER: (*on.config.rules[LEADER], rule("p"))},
        )
        async with engine(dsn, on, live=["ra"]) as world:
            (session,) = world.machine.sessions.all
            assert session == "login-ra"
            await world.send(side="buy", quantity=1)
            await world.until(lambda: world.held("p") == 1, "the fill at the price of the real one")


@pytest.mark.parametrize("shadow", [False, True])
async def test_paper_becomes_money_only_by_opening_the_session_anew(dsn: str, shadow: bool) -> None:
    async with street({"sa": Follower(FIRST)}) as on:
        shadowed(on, *(["sa"] if shadow else []))
        async with engine(dsn, on) as world:
            accounts = {"sa": replace(on.config.accounts["sa"], shadow=not shadow)}
            await world.machine.reconfigure(replace(on.config, version=2, accounts=accounts), [])
            await world.until(lambda: world.machine.state.facts_of("sa").live, "the new session")
            await world.until(lambda: world.machine.sessions.of("sa").state == "live", "it is live")  # pyright: ignore[reportOptionalMemberAccess]
            await world.send(side="buy", quantity=1)
            await world.until(lambda: world.held("sa") == 1, "the entry")
            assert len(await world.sim("sa").placements("sa")) == (1 if shadow else 0)
