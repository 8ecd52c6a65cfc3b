"""The real clock: the only place that asks the operating system for the time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """For durations and deadlines."""
        return time.monotonic_ns()
