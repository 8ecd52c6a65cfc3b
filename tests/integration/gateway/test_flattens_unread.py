"""A flatten where the broker's list of orders does not read: what is held is closed all the same (P9, R-094)."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import BrokerSession, ReadLane
from tests.integration.gateway.flattens import begun, closes
from tests.integration.gateway.test_flattens_at_work import BOTH, traded
from tests.integration.gateway.world import Follower, house


@BOTH
async def test_what_is_held_is_closed_and_the_account_is_not_called_flat(
    dsn: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2, stop_loss={"offset": Decimal(10)})
        await world.holds(a=2)
        await world.working("a", 1)
        session = world.machine.sessions.of("a")
        assert session is not None
        real = type(session).snapshot

        async def unread(
            self: BrokerSession, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
        ) -> AccountSnapshot:
            return replace(await real(self, account_id, since, lane=lane), orders=None)

        monkeypatch.setattr(type(session), "snapshot", unread)
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
