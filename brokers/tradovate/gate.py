"""At most so many connects per time to one host, over all logins of this process.

Opening many sockets at once is itself answered 429. With a distance of 3 s and a connect timeout of 5 s no
more than two connects are ever in progress.
"""

from typing import Final

_NS_PER_S: Final = 1_000_000_000


class ConnectGate:
    """Hands out slots. Pure: the caller brings the monotonic time and waits."""

    __slots__ = ("_free_ns",)

    def __init__(self) -> None:
        self._free_ns = 0

    def reserve(self, now_ns: int, distance_s: float) -> float:
        """Seconds to wait before the connect; the next caller gets a later slot."""
        slot_ns = max(now_ns, self._free_ns)
        self._free_ns = slot_ns + int(distance_s * _NS_PER_S)
        return (slot_ns - now_ns) / _NS_PER_S
