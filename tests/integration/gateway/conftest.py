"""For tests of a whole engine: a machine that stands still for seconds, as a shared one may, is not their question."""

import pytest

from gateway_container.engine import watchdog
from tests.integration.gateway.simulated import PATIENCE_S


@pytest.fixture(autouse=True)
def _patient_watchdog(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries stop once the loop stood still for as long as a test waits; the watchdog's own tests keep its second."""
    if request.module.__name__.rpartition(".")[2] != "test_watchdog":
        monkeypatch.setattr(watchdog, "STUCK_S", PATIENCE_S)
