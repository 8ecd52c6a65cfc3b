"""Waiting times between attempts: exponential growth, a cap and jitter, as a generator of seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Jitter = Literal["full", "equal"]

_UNTOLD_S: Final = 60.0  #: when a 429 names no time of its own


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """How long to wait before attempt n + 1.

    `jitter="equal"` keeps at least half of each step (a reconnect never hammers), `"full"` spreads over
    the whole step (many clients at once, one server).
    """

    first_s: float = 1.0
    factor: float = 2.0
    max_s: float = 60.0
    jitter: Jitter = "equal"

    def __post_init__(self) -> None:
        if self.first_s <= 0 or self.max_s < self.first_s or self.factor < 1:
            raise ValueError("backoff needs 0 < first_s <= max_s and factor >= 1")


def backoff(policy: BackoffPolicy, rng: Random) -> Iterator[float]:
    """Endless seconds to wait, each in (0, policy.max_s]; make a new generator after a success."""
    step_s = policy.first_s
    while True:
        yield _jittered(step_s, policy.jitter, rng)
        step_s = min(step_s * policy.factor, policy.max_s)


def _jittered(step_s: float, jitter: Jitter, rng: Random) -> float:
    # 1 - random() is in (0, 1]: a wait of exactly zero would be a busy loop.
    share = 1.0 - rng.random()
    return step_s * share if jitter == "full" else step_s / 2 + step_s / 2 * share


def told_s(retry_after: str, most_s: float) -> float:
    """Seconds of silence that a 429 asks for by this Retry-After header, `most_s` at most."""
    return min(float(retry_after) if retry_after.isdecimal() else _UNTOLD_S, most_s)
