"""The leader trades by hand at its broker, and the followers follow."""

from decimal import Decimal

import pytest

from tests.integration.gateway.world import BOSS, FIRST, SECOND, Follower, World, house, rule

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def stops(world: World, account_id: str, *levels: str) -> None:
    """Wait until the account's stops rest at these levels."""
    wanted = [Decimal(level) for level in levels]
    await world.until(
        lambda: [o.stop_price for o in world.open(account_id) if o.stop_price] == wanted,
        f"stops of {account_id} at {levels}",
    )


@pytest.mark.parametrize("at", [FIRST, SECOND])
async def test_followers_follow_a_day_of_hand_trading(dsn: str, at: str) -> None:
    async with house(dsn, ONE_EACH, leader_at=at) as world:
        boss, contract = world.sim(BOSS), world.contract
        number = await boss.number(BOSS)
        bracket = [
            {"side": "sell", "ord_type": "stop", "stop_price": "6790"},
            {"side": "sell", "ord_type": "limit", "price": "6820"},
        ]
        await boss.by_hand(BOSS, contract, "buy", 2, children=bracket)
        await world.holds(a=2, b=2)
        for account in ONE_EACH:
            await world.working(account, 2)
            await stops(world, account, "6790")

        stop = next(o for o in await boss.live(BOSS) if o.request.ord_type == "stop")
        for level in ("6791", "6792", "6793.5"):
            await boss.control("manual-replace", order_id=stop.order_id, stop_price=level)
            for account in ONE_EACH:
                await stops(world, account, level)

        await boss.control("manual-close", account_id=number, symbol=contract, qty=1)
        await world.holds(a=1, b=1)
        await boss.by_hand(BOSS, contract, "sell", 3)
        await world.holds(a=-2, b=-2)
        await boss.control("manual-close", account_id=number, symbol=contract)
        await world.holds(a=0, b=0)
        await world.no_order_is_doubled()


async def test_copies_are_never_copied_back(dsn: str) -> None:
    """The leader's account follows its own leader: its copies are recognised by their order ids too."""
    followers = {"a": Follower(FIRST), BOSS: Follower(FIRST, rule)}
    async with house(dsn, followers, leader_at=FIRST) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, boss=1)
        await world.send(action="exit")
        await world.holds(a=0, boss=0)
        for account in followers:
            assert len(await world.sim(account).placements(account)) == 2
