"""One signal becomes confirmed copies: the whole way, with real brokers' wires and a real database."""

from decimal import Decimal

from kopitra.domain.copy_rules import CopyRule, Sizing
from tests.integration.gateway.world import FIRST, LEADER, SECOND, WORKSPACE, Follower, house


def rule(account_id: str, **fields: object) -> CopyRule:
    return CopyRule(f"rule-{account_id}", 1, WORKSPACE, LEADER, account_id, **fields)  # pyright: ignore[reportArgumentType]


async def test_an_entry_fills_at_every_follower_and_an_exit_makes_them_flat(dsn: str) -> None:
    followers = {
        "p1": Follower(FIRST, rule),
        "p2": Follower(FIRST, lambda a: rule(a, sizing=Sizing("multiplier", Decimal(3)))),
        "t1": Follower(SECOND, rule),
        "t2": Follower(SECOND, lambda a: rule(a, inverse=True)),
    }
    async with house(dsn, followers) as world:
        children = await world.send(side="buy", quantity=1)
        await world.until(
            lambda: all(c.state == "filled" for c in children), str([(c.state, c.reason) for c in children])
        )
        assert {a: world.held(a) for a in followers} == {"p1": 1, "p2": 3, "t1": 1, "t2": -1}
        await world.send(action="exit")
        await world.until(lambda: all(world.held(a) == 0 for a in followers), "flat")
        for sim in world.sims.values():
            placed = [r["cl_ord_id"] for r in await sim.ledger("placement") if r["origin"] == "api"]
            assert len(placed) == len(set(placed)) == 4
