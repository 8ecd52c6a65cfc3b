"""Shared by the store's tests."""

import time
from datetime import UTC, datetime, timedelta

import pytest


class TestClock:
    """Real monotonic time, a wall clock that stands still until it is moved."""

    __test__ = False

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
        self.ahead_ns = 0

    def now(self) -> datetime:
        """Where the test put it."""
        return self.wall

    def monotonic_ns(self) -> int:
        """The machine's, plus what the test skipped."""
        return time.monotonic_ns() + self.ahead_ns

    def skip(self, seconds: float) -> None:
        """Jump ahead."""
        self.wall += timedelta(seconds=seconds)
        self.ahead_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> TestClock:
    """A clock to move by hand."""
    return TestClock()
