"""What makes the same message one signal for a while: two names, of windows half a window apart (R-023, R-027).

A name alone has an edge, and copies on both sides of it, neither of them durable yet, know nothing of each other, least
of all in two processes. No edge of one window is near an edge of the other: copies less than half a window apart have
one of the names in common, and PostgreSQL takes each name once. Those farther apart find the first answer.
"""

from datetime import datetime
from typing import NamedTuple

_US_PER_S = 1_000_000


class Windows(NamedTuple):
    """`key` is that of the answer and `name` that of the signal; `before` and `after` are the keys beside `key`."""

    key: str
    before: str
    after: str
    name: str


def windows(digest: str, at: datetime, window_s: int) -> Windows:
    """The names of a message that was received `at`; those of copies a whole window apart have nothing in common."""
    at_us, window_us = int(at.timestamp() * _US_PER_S), window_s * _US_PER_S
    bucket, half_later = at_us // window_us, (at_us + window_us // 2) // window_us
    text = f"{digest}-{window_s}"
    return Windows(
        f"{text}-{bucket}", f"{text}-{bucket - 1}", f"{text}-{bucket + 1}", f"{text}-half-{half_later}"
    )
