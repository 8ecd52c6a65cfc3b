"""Circuit breaker of one (broker, account, class of calls): it stops entries into a broker that is down.

Business refusals are no failures: report only infrastructure failures and unknown outcomes with
`permit.failed()`. An open breaker blocks entries and reads; exits pass slowly, because a breaker must never
be the reason why a position cannot be closed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from brokers._kit.sliding import SlidingCount

_NS_PER_S: Final = 1_000_000_000

CallKind = Literal["entry", "exit", "read"]
BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open and for how long."""

    failures_in_row_max: int = 5
    window_s: float = 30.0
    calls_min: int = 10  #: fewer calls in the window say nothing about a ratio
    failure_ratio_max: float = 0.5
    open_first_s: float = 5.0
    open_max_s: float = 60.0
    open_spread: float = 0.2  #: up to this share is added by chance, so that breakers do not probe together
    exit_gap_s: float = 1.0  #: an open breaker lets one exit pass in this time
    probe_max_s: float = 10.0  #: a probe without an outcome for so long is given up


class Permit:
    """The right to make one call. Report its outcome once; a permit without outcome counts as nothing."""

    __slots__ = ("_breaker", "_epoch", "is_probe")

    def __init__(self, breaker: "Breaker", epoch: int, is_probe: bool) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch
        self.is_probe = is_probe

    def succeeded(self) -> None:
        """The broker answered, be it with a refusal."""
        self._report(True)

    def failed(self) -> None:
        """No answer, a broken link, a 5xx, an outcome unknown."""
        self._report(False)

    def _report(self, ok: bool) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.on_outcome(ok, self._epoch, self.is_probe)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Do not call; something may pass again after `retry_after_s`."""

    retry_after_s: float


class Breaker:
    """Pure: the clock and the chance are injected."""

    def __init__(
        self, *, clock_ns: Callable[[], int], rng: Random, policy: BreakerPolicy | None = None
    ) -> None:
        self._clock_ns = clock_ns
        self._rng = rng
        self._policy = policy or BreakerPolicy()
        window_ns = int(self._policy.window_s * _NS_PER_S)
        self._calls = SlidingCount(window_ns)
        self._failures = SlidingCount(window_ns)
        self._failures_in_row = 0
        self._state: BreakerState = "closed"
        self._opened_epoch = 0
        self._epoch = 0  # outcomes of calls made in an earlier state say nothing about the present one
        self._open_s = self._policy.open_first_s
        self._probe_at_ns = 0
        self._exit_at_ns = 0

    @property
    def state(self) -> BreakerState:
        return self._state

    def ask(self, kind: CallKind) -> Permit | Blocked:
        """May a call of this kind be made now? The first read after the open time is the one probe."""
        if self._state == "closed":
            return Permit(self, self._epoch, is_probe=False)
        now_ns = self._clock_ns()
        if kind == "exit":
            return self._exit(now_ns)
        if kind == "read" and now_ns >= self._probe_at_ns:
            return self._probe(now_ns)
        return Blocked(max(0, self._probe_at_ns - now_ns) / _NS_PER_S)

    def _exit(self, now_ns: int) -> Permit | Blocked:
        if now_ns < self._exit_at_ns:
            return Blocked((self._exit_at_ns - now_ns) / _NS_PER_S)
        self._exit_at_ns = now_ns + int(self._policy.exit_gap_s * _NS_PER_S)
        return Permit(self, self._epoch, is_probe=False)

    def _probe(self, now_ns: int) -> Permit:
        self._state = "half_open"
        self._epoch += 1
        self._probe_at_ns = now_ns + int(self._policy.probe_max_s * _NS_PER_S)
        return Permit(self, self._epoch, is_probe=True)

    def note(self, ok: bool) -> None:
        """The outcome of a call that needed no permit, because the breaker was closed; else it says nothing."""
        if self._state == "closed":
            self._count(ok)

    def on_outcome(self, ok: bool, epoch: int, is_probe: bool) -> None:
        """For `Permit` only."""
        if self._state == "closed":
            if epoch == self._epoch:
                self._count(ok)
        elif is_probe and epoch != self._epoch:
            return  # a probe that was given up: its successor decides
        elif ok and (is_probe or epoch >= self._opened_epoch):
            self._close()
        elif is_probe:
            self._open_s = min(self._open_s * 2, self._policy.open_max_s)
            self._open()

    def _count(self, ok: bool) -> None:
        now_ns, policy = self._clock_ns(), self._policy
        self._calls.add(now_ns, 1)
        if ok:
            self._failures_in_row = 0
            return
        self._failures.add(now_ns, 1)
        self._failures_in_row += 1
        calls = self._calls.total(now_ns)
        many = calls >= policy.calls_min and self._failures.total(now_ns) > policy.failure_ratio_max * calls
        if many or self._failures_in_row >= policy.failures_in_row_max:
            self._open_s = policy.open_first_s
            self._open()
            self._opened_epoch = self._epoch

    def _open(self) -> None:
        self._state = "open"
        self._epoch += 1
        wait_s = self._open_s * (1 + self._policy.open_spread * self._rng.random())
        self._probe_at_ns = self._clock_ns() + int(wait_s * _NS_PER_S)

    def _close(self) -> None:
        self._state = "closed"
        self._epoch += 1
        self._failures_in_row = 0
        self._calls.clear()
        self._failures.clear()
