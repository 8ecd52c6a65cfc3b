"""What may happen all the time and must be told: once a minute for each of its kinds."""

from collections.abc import Hashable
from typing import Final

#: nanoseconds in which the same is told once
TELL_AGAIN_NS: Final = 60_000_000_000


class Seldom:
    """Remembers what was told when. Its keys are few: kinds of trouble by account."""

    __slots__ = ("_told_ns",)

    def __init__(self) -> None:
        self._told_ns: dict[Hashable, int] = {}  # bounded: kinds of trouble by account

    def is_due(self, key: Hashable, now_ns: int) -> bool:
        """True, and remembered, unless the same was told within the minute (monotonic)."""
        told_ns = self._told_ns.get(key)
        if told_ns is not None and now_ns - told_ns < TELL_AGAIN_NS:
            return False
        self._told_ns[key] = now_ns
        return True
