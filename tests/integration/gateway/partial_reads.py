"""Brokers whose list of orders does not read."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import BrokerSession, ReadLane
from tests.integration.gateway.world import World


def without_orders(
    world: World, monkeypatch: pytest.MonkeyPatch, told: Callable[[ReadLane, AccountSnapshot], None]
) -> None:
    """From now on no read of account `a` tells orders; `told` hears of each read."""
    session = world.machine.sessions.of("a")
    assert session is not None
    real = type(session).snapshot

    async def snapshot(
        self: BrokerSession, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        found = await real(self, account_id, since, lane=lane)
        told(lane, found)
        return replace(found, orders=None)

    monkeypatch.setattr(type(session), "snapshot", snapshot)
