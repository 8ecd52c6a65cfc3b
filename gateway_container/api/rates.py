"""Token buckets in memory, a bounded number of them; exits keep a reserve of their own."""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import Final

#: buckets kept; the longest unused leaves first, and it would be full again by then
BUCKETS_MAX: Final = 20_000
#: of each bucket, kept back for exits
RESERVE_RATIO: Final = 0.2
_HAIR_RATIO: Final = 1e-6
_MINUTE_NS: Final = 60_000_000_000


@dataclass(slots=True)
class _Bucket:
    tokens_ratio: float
    at_ns: int


class Rates:
    """Requests per minute by name; a bucket holds one minute's worth, so a burst may use it at once."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, per_minute: int, now_ns: int, *, keep_ratio: float = 0.0) -> int:
        """Take one and leave `keep_ratio` of the bucket; 0 when it was there, else the seconds to wait."""
        bucket = self._filled(name, now_ns)
        needed_ratio = 1 / per_minute + keep_ratio
        # Sums of ratios are a hair off: a millionth of a bucket is nothing.
        if bucket.tokens_ratio + _HAIR_RATIO < needed_ratio:
            return self._wait_s(needed_ratio - bucket.tokens_ratio)
        bucket.tokens_ratio -= 1 / per_minute
        return 0

    def _filled(self, name: str, now_ns: int) -> _Bucket:
        # A full bucket is a minute's worth whatever the rate, so every bucket fills in one minute.
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(1.0, now_ns)
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(name)
        bucket.tokens_ratio = min(1.0, bucket.tokens_ratio + (now_ns - bucket.at_ns) / _MINUTE_NS)
        bucket.at_ns = now_ns
        return bucket

    @staticmethod
    def _wait_s(missing_ratio: float) -> int:
        return max(1, ceil(missing_ratio * 60))
