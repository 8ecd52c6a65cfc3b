"""The simulated firm on loopback, and sessions that do not wait long for anything."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from brokers.projectx import ADAPTER
from tests.contract.desk import Desk
from tests.contract.logins import ALPHA
from tests.contract.rig import SimBroker

#: settings that make reconnects and polls quick
QUICK = {
    "reconnect_first_s": "0.05",
    "reconnect_max_s": "0.2",
    "poll_positions_s": "0.1",
    "poll_trades_s": "0.1",
    "poll_orders_s": "0.1",
    "budget_per_window": "10000",
}

Quick = Callable[..., Desk]


@pytest.fixture
async def firm() -> AsyncIterator[SimBroker]:
    """A firm that counts no requests, until a test says otherwise."""
    started = await SimBroker.start(ADAPTER)
    await started.settings(rate_limit_per_window=100_000)
    yield started
    await started.stop()


@pytest.fixture
def quick(firm: SimBroker) -> Quick:
    """Makes a session with other settings that is not connected yet."""

    def make(**changes: str) -> Desk:
        plan = firm.plan(ALPHA)
        return firm.desk(plan=replace(plan, settings={**plan.settings, **QUICK, **changes}))

    return make


@pytest.fixture
async def desk(quick: Quick) -> Desk:
    """A live session."""
    made = quick()
    made.run()
    await made.live()
    return made
