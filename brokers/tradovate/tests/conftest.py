"""A running simulator, and a live session on it."""

from collections.abc import AsyncIterator

import pytest

from brokers.tradovate.simulator import Simulator
from brokers.tradovate.tests.harness import House, plan_of, start_simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = await start_simulator()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def house(simulator: Simulator) -> AsyncIterator[House]:
    """A session that is not running yet."""
    house = House(simulator, plan_of(simulator))
    yield house
    await house.close()


@pytest.fixture
async def live(house: House) -> House:
    """A live session."""
    house.run()
    await house.live()
    return house
