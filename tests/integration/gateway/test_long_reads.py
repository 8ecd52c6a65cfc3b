"""Once a day an account is read far back, and a long read that fails takes no short one's place (R-041, R-042)."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from gateway_container.engine.comparison import LOOK_BACK_DAY, PACE
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import BrokerSession, ReadLane
from tests.integration.gateway.test_drift import QUICK
from tests.integration.gateway.world import FIRST, Follower, World, house


def long_reads_fail(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None, times: int
) -> list[bool]:
    """The first so many long reads of a comparison raise this, or tell no executions; which reads were long."""
    session, clock = world.machine.sessions.of("a"), world.machine.state.clock
    assert session is not None
    asked: list[bool] = []
    real = type(session).snapshot

    async def snapshot(
        self: BrokerSession, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        if since is None or lane != "status":
            return await real(self, account_id, since, lane=lane)
        asked.append(clock.now() - since > LOOK_BACK_DAY / 2)
        fails = asked[-1] and sum(asked) <= times
        if fails and error is not None:
            raise error("the broker does not answer so long a request")
        found = await real(self, account_id, since, lane=lane)
        return replace(found, executions=None) if fails else found

    monkeypatch.setattr(type(session), "snapshot", snapshot)
    return asked


async def test_r042_the_days_long_read_is_made_again_until_one_succeeds(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        asked = long_reads_fail(world, monkeypatch, OSError, times=1)
        world.machine.comparison.pace = QUICK._replace(day_again_s=0.0)
        world.machine.comparison.soon("a")
        await world.until(lambda: len(asked) > 2, "three reads")
        assert asked[:3] == [True, True, False]


@pytest.mark.parametrize("error", [TimeoutError, None])
async def test_r041_r042_short_reads_go_on_while_the_long_one_never_succeeds(
    dsn: str, error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-041, R-042: the request fails, or a row of this morning does not read; ten minutes lie between two tries."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        asked, comparison = long_reads_fail(world, monkeypatch, error, times=99), world.machine.comparison
        await world.sim("a").settings(stream_silent=True)
        await world.send(side="buy", quantity=1)
        comparison.pace = QUICK
        comparison.soon("a")
        await world.alert("stream-loss", "a")
        await world.until(lambda: world.held("a") == Decimal(1), "the fill from a short read")
        seen = len(asked)
        await world.until(lambda: len(asked) > seen and "a" in comparison.compared_ns, "a comparison")
        assert asked == [True] + [False] * (len(asked) - 1)

        assert comparison.pace.day_again_s == PACE.day_again_s == 600
        comparison._day_tried_s["a"] -= PACE.day_again_s
        seen = len(asked)
        await world.until(lambda: len(asked) > seen + 1, "two more reads")
        assert asked[seen : seen + 2] == [True, False]
