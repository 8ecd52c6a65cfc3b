"""One suite for every broker: each card runs once per adapter, and its outcome is written down."""

from collections.abc import AsyncIterator

import pytest

from brokers import registry
from kopitra.ports import BrokerAdapter
from tests.contract import record
from tests.contract.card import claim
from tests.contract.desk import Desk
from tests.contract.rig import SimBroker


@pytest.fixture(params=sorted(registry()))
def adapter(request: pytest.FixtureRequest) -> BrokerAdapter:
    """Each broker in turn; skipped where it does not claim what the card needs."""
    found = registry()[request.param]
    marker = request.node.get_closest_marker("card")
    assert marker is not None, "a test of a broker belongs to a card: mark it with @card"
    number, needs = marker.args
    request.node.user_properties.extend([("broker", found.code), ("card", number)])
    claim(needs is None or needs(found.capabilities), "what the card needs")
    return found


@pytest.fixture
async def broker(adapter: BrokerAdapter) -> AsyncIterator[SimBroker]:
    """The broker's own simulator, just started."""
    started = await SimBroker.start(adapter)
    yield started
    await started.stop()


@pytest.fixture
async def desk(broker: SimBroker) -> Desk:
    """A live session of the login with two accounts."""
    return await broker.open()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "card(number, needs): a card of brokers/CONTRACT.md")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    said = dict(report.user_properties)
    if "card" in said and (report.when == "call" or report.outcome != "passed"):
        record.note(str(said["broker"]), str(said["card"]), report.outcome)


def pytest_sessionfinish() -> None:
    record.write(dict(registry()))
