"""R-020, P3: an adapter's fault is its own account's: the other followers of the signal are served."""

import pytest

from gateway_container.engine.containment import ACCOUNT_FAILED
from tests.integration.gateway.world import FIRST, SECOND, Follower, World, house

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def raises(world: World, call: str, patch: pytest.MonkeyPatch) -> None:
    """This call of the session of `a` falls over."""

    def fall(*_args: object) -> None:
        raise RuntimeError("what nobody thought of")

    patch.setattr(type(world.machine.sessions.of("a")), call, fall)


@pytest.mark.parametrize("call, state", [("encode", "skipped"), ("submit", "in_doubt")])
async def test_r020_a_session_that_raises_stops_its_own_account_alone(
    dsn: str, call: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(dsn, ONE_EACH) as world:
        with monkeypatch.context() as patch:
            raises(world, call, patch)
            children = await world.send(side="buy", quantity=1)
            await world.holds(b=1)
        (mine,) = [child for child in children if child.intent.account_id == "a"]
        assert mine.state == state
        assert "RuntimeError" in world.machine.state.book.blocked["a"]
        await world.alert(ACCOUNT_FAILED, "a")
        assert "b" not in world.machine.state.book.blocked
        await world.no_order_is_doubled()


async def test_r020_a_cancel_that_raises_is_asked_for_again_and_holds_up_nobody(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1, stop_loss={"price": "6700"})
        await world.holds(a=1, b=1)
        await world.working("a", 1)
        await world.working("b", 1)
        with monkeypatch.context() as patch:
            raises(world, "cancel", patch)
            await world.send(action="exit")
            await world.holds(b=0)
            await world.alert(ACCOUNT_FAILED, "a")
        await world.holds(a=0)
        await world.until(lambda: not world.open("a"), "the cancel of the stop")
        assert await world.sim("a").live("a") == []
