"""For tests of a whole engine: a machine that stands still for seconds, as a shared one may, is not their question."""

import pytest

from gateway_container.engine import watchdog
from tests.integration.gateway.simulated import PATIENCE_S


@pytest.fixture(autouse=True)
def stuck_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries stop once the loop stood still for as long as a test waits."""
    monkeypatch.setattr(watchdog, "STUCK_S", PATIENCE_S)
