"""Prices that no signal brought: the gateway watches what its followers' rules and limits need."""

from decimal import Decimal

from brokers import registry
from gateway_container.engine.quotes import roots_needed
from kopitra.domain.copy_rules import CopyRule, MapEntry, Sizing
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.limits import RiskLimits
from tests.integration.gateway.world import Follower, house, rule, street

QUOTES = next(code for code, adapter in sorted(registry().items()) if adapter.capabilities.quotes)
TRAILS_BY_QUOTE = [c for c, a in sorted(registry().items()) if "trailing_stop" in a.capabilities.ord_types]


def percent(account_id: str) -> CopyRule:
    """Notional of 700 % of 50,000: one ES contract at 6,800 is 340,000."""
    return rule(account_id, sizing=Sizing("percent_of_equity", Decimal(700)), include=("ES",))


async def test_a_market_signal_without_a_price_is_sized_once_quotes_have_come(dsn: str) -> None:
    limits = RiskLimits(max_notional=Decimal(1_000_000), symbols=("ES",))
    followers = {"a": Follower(QUOTES, percent), "b": Follower(QUOTES, limits=limits)}
    async with house(dsn, followers) as world:
        machine = world.machine
        await world.price("6800", "6800.25")
        await world.until(lambda: "ES" in machine.state.prices, "a quote of ES")

        children = await world.send(side="buy", quantity=1)

        assert {c.intent.account_id: int(c.intent.qty) for c in children} == {"a": 1, "b": 1}
        await world.holds(a=1, b=1)


async def test_another_session_takes_over_when_the_source_is_gone(dsn: str) -> None:
    followers = {"a": Follower(QUOTES, percent), "b": Follower(QUOTES, percent)}
    async with house(dsn, followers) as world:
        machine = world.machine
        await world.price("6800", "6800.25")
        await world.until(lambda: "ES" in machine.state.prices, "a quote of ES")
        (source,) = machine.quotes.sources

        await machine.sessions.all[source].close(drain_s=0)
        await world.until(lambda: machine.quotes.sources != (source,), "another source")

        assert machine.quotes.sources == ("login-b" if source == "login-a" else "login-a",)
        machine.state.prices.clear()

        async def moved() -> bool:
            await world.price("6810", "6810.25")
            return "ES" in machine.state.prices

        while not await moved():
            pass


async def test_a_trailing_stop_leaves_as_soon_as_its_broker_has_a_quote(dsn: str) -> None:
    followers = {broker: Follower(broker) for broker in TRAILS_BY_QUOTE}
    async with house(dsn, followers) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(**dict.fromkeys(followers, 1))

        await world.send(
            action="reduce", quantity=1, ord_type="trailing_stop", trail_offset=Decimal(10), side="sell",
            leader_order_id="trail",
        )  # fmt: skip

        for account in followers:
            await world.working(account, 1)


async def test_only_what_cannot_be_decided_without_a_price_is_watched() -> None:
    def mapped(account_id: str) -> CopyRule:
        return rule(
            account_id,
            sizing=Sizing("percent_of_equity", Decimal(100)),
            include=("ES", "NQ"),
            symbol_map=(MapEntry("ES", "MES"),),
        )

    followers = {
        "plain": Follower(QUOTES),
        "mapped": Follower(QUOTES, mapped),
        "collared": Follower(QUOTES, limits=RiskLimits(price_collar_ticks=8, symbols=("CL",))),
        "paused": Follower(QUOTES, lambda a: rule(a, sizing=percent(a).sizing, pace="paused")),
    }
    async with street(followers) as on:
        assert roots_needed(on.config) == {"MES", "NQ", "CL"}
    async with street({"all": Follower(QUOTES, lambda a: rule(a, sizing=percent(a).sizing))}) as on:
        assert roots_needed(on.config) == set(INSTRUMENTS)
