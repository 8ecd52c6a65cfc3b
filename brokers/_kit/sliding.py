"""A count over the last `window_ns`, in bounded memory: it may count a little too long, never too short."""

from typing import Final

_SLOTS: Final = 60  #: the window is cut in so many; an event leaves at most one slot late


class SlidingCount:
    """Time must not run backwards; an earlier `now_ns` is taken as the latest one seen."""

    __slots__ = ("_counts", "_slot", "_slot_ends_ns", "_slot_ns", "_total")

    def __init__(self, window_ns: int) -> None:
        self._slot_ns = -(-window_ns // _SLOTS)
        # One slot more than the window holds, so that the slot in progress never drops events too early.
        self._counts = [0] * (_SLOTS + 1)
        self._slot = 0
        self._slot_ends_ns = self._slot_ns
        self._total = 0

    def add(self, now_ns: int, count: int) -> None:
        if now_ns >= self._slot_ends_ns:
            self._turn(now_ns)
        self._counts[self._slot % (_SLOTS + 1)] += count
        self._total += count

    def total(self, now_ns: int) -> int:
        if now_ns >= self._slot_ends_ns:
            self._turn(now_ns)
        return self._total

    def clear(self) -> None:
        self._counts = [0] * len(self._counts)
        self._total = 0

    def ns_until(self, now_ns: int, total: int) -> int:
        """After how long without new events the count is at most `total`."""
        self._turn(now_ns)
        left, size = self._total, len(self._counts)
        for age in range(1, size + 1):
            if left <= total:
                break
            left -= self._counts[(self._slot + age) % size]
            wait_ns = (self._slot + age) * self._slot_ns - now_ns
            if left <= total:
                return max(wait_ns, 1)
        return 0

    def _turn(self, now_ns: int) -> None:
        slot = now_ns // self._slot_ns
        if slot <= self._slot:
            return
        size = len(self._counts)
        for passed in range(self._slot + 1, min(slot, self._slot + size) + 1):
            self._total -= self._counts[passed % size]
            self._counts[passed % size] = 0
        self._slot = slot
        self._slot_ends_ns = (slot + 1) * self._slot_ns
