"""The real clock: the only place that asks the operating system for the time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        return datetime.now(UTC)

    #: for durations and deadlines; the function itself, because it is asked several times per order
    monotonic_ns = staticmethod(time.monotonic_ns)
