"""The one supervisor of a broker session: connect, log in, subscribe, reconcile, live, and over again.

One task owns a session. The adapter brings a `SessionPlan` (small functions); the runner brings the order of
things, the waiting and the states, and never asks which broker it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from brokers._kit.backoff import BackoffPolicy, backoff
from brokers._kit.session_state import StateHolder
from kopitra.domain.errors import ForcedLogout, LoginRefused, ProtocolViolation, SessionError, Throttled
from kopitra.ports import EventSink, ProtocolAlert, SessionChanged, SessionState

_LOG: Final = logging.getLogger("kopitra.session")
_NS_PER_S: Final = 1_000_000_000
_DRAIN_LOOK_S: Final = 0.02  #: how often a draining session looks whether everything was answered

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Retry:
    """The session may come back by itself, not before `after_s` seconds."""

    reason: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fatal:
    """A person must act (wrong password, captcha); trying again would make it worse."""

    reason: str


Verdict = Retry | Fatal


def classify(error: Exception) -> Verdict:
    """What an error means for a session, if the adapter does not know better."""
    match error:
        case LoginRefused():
            return Fatal(error.message)
        case Throttled() | ForcedLogout():
            return Retry(error.message, after_s=error.retry_after_s)
        case SessionError():
            return Retry(error.message)
        case TimeoutError():
            return Retry("a step of the session took too long")
        case _:
            return Retry(f"unexpected {type(error).__name__}: see the log")


async def nothing() -> None:
    """For a step that a broker does not have."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One life of a session as steps, in this order. A step raises to end the life.

    `reconcile` returns only when the session's view is complete: the snapshot of every account was handed to
    the sink, requests outstanding from an earlier life are resolved or reported unknown, events that arrived
    meanwhile are applied. `live` runs as long as the session does and raises when its link ended. `release`
    closes whatever the other steps opened, reports what was in flight as unknown, may be called after any of
    them failed, and must not raise.
    """

    connect: Step
    login: Step
    subscribe: Step
    reconcile: Step
    live: Step
    release: Step
    classify: Callable[[Exception], Verdict] = classify
    settled: Callable[[], bool] = field(default=lambda: True)  # nothing outstanding: draining may end


@dataclass(frozen=True, slots=True)
class RunnerPolicy:
    """Waiting and limits of one session."""

    reconnect: BackoffPolicy = field(default_factory=BackoffPolicy)
    step_max_s: float = 30.0  #: for each step before live, and for release
    stable_s: float = 10.0  #: live for so long, the next reconnect starts with the first wait again
    violations_in_row_max: int = 5  #: lives ended by a protocol violation before a person is asked


class SessionRunner:
    """Runs a plan until `close` or a fatal error; `run` is called once, by the task that owns the session."""

    def __init__(
        self,
        login_id: str,
        plan: SessionPlan,
        sink: EventSink,
        *,
        clock_ns: Callable[[], int],
        rng: Random,
        policy: RunnerPolicy | None = None,
    ) -> None:
        self._login_id = login_id
        self._plan = plan
        self._sink = sink
        self._clock_ns = clock_ns
        self._rng = rng
        self._policy = policy or RunnerPolicy()
        self._states = StateHolder(self._tell)
        self._life: asyncio.Task[None] | None = None
        self._live_ns: int | None = None
        self._was_stable = False
        self._violations = 0
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def state(self) -> SessionState:
        return self._states.state

    @property
    def takes_placements(self) -> bool:
        """True in `live` only."""
        return self._states.takes_placements

    @property
    def takes_cancels(self) -> bool:
        """True in `live` and `draining`."""
        return self._states.takes_cancels

    async def run(self) -> None:
        """Returns after `close` or a fatal error; cancelling it closes the session at once."""
        try:
            waits = backoff(self._policy.reconnect, self._rng)
            while not self._closing.is_set():
                verdict = await self._one_life()
                if isinstance(verdict, Fatal) or self._closing.is_set():
                    break
                if self._was_stable:
                    waits = backoff(self._policy.reconnect, self._rng)
                await self._pause(max(verdict.after_s, next(waits)))
        finally:
            if self.state != "closed":
                self._states.move("closed", "closed")
            self._closed.set()

    async def close(self, *, drain_s: float) -> None:
        """No placements from now on; cancels pass until all is answered or `drain_s` is over; then closed."""
        first = not self._closing.is_set()
        self._closing.set()
        if first and self.state == "live":
            self._states.move("draining", "closing")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered(), drain_s)
        if self._life is not None:
            self._life.cancel()
            await self._closed.wait()

    async def _all_answered(self) -> None:
        while self.takes_cancels and not self._plan.settled():  # noqa: ASYNC110 - a cold path
            await asyncio.sleep(_DRAIN_LOOK_S)

    # -- one life --------------------------------------------------------------------------------------

    async def _one_life(self) -> Verdict:
        self._live_ns = None
        self._life = asyncio.get_running_loop().create_task(self._walk(), name=f"session {self._login_id}")
        try:
            await asyncio.wait({self._life})
            verdict = self._judge(self._life)
            # Before the parts are released: nobody shall think that this session still takes orders.
            if isinstance(verdict, Fatal):
                self._states.move("closed", verdict.reason, fatal=True)
            elif not self._closing.is_set():
                self._states.move("backoff", verdict.reason)
            return verdict
        finally:
            # Also when this very task was cancelled: nothing of a life may outlive it.
            self._life.cancel()
            await asyncio.wait({self._life})
            await self._release()

    async def _walk(self) -> None:
        plan = self._plan
        await self._step("connecting", plan.connect)
        await self._step("logging_in", plan.login)
        await self._step("reconciling", plan.subscribe, plan.reconcile)
        self._states.move("live")
        self._live_ns = self._clock_ns()
        await plan.live()

    async def _step(self, state: SessionState, *steps: Step) -> None:
        self._states.move(state)
        for step in steps:
            async with asyncio.timeout(self._policy.step_max_s):
                await step()

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self._policy.step_max_s):
                await self._plan.release()
        except Exception:  # noqa: BLE001 - an adapter's defect must not stop the supervision of its session
            _LOG.exception("session %s could not release its parts", self._login_id)

    def _judge(self, life: asyncio.Task[None]) -> Verdict:
        lived_ns = 0 if self._live_ns is None else self._clock_ns() - self._live_ns
        self._was_stable = lived_ns >= self._policy.stable_s * _NS_PER_S
        if life.cancelled():
            return Retry("closed")
        error = life.exception()
        if not isinstance(error, Exception):
            return Retry("the session ended")
        verdict = self._plan.classify(error)
        known = isinstance(error, SessionError | TimeoutError)
        if not known:
            _LOG.error("session %s failed unexpectedly", self._login_id, exc_info=error)
        if known and not isinstance(error, ProtocolViolation):
            self._violations = 0
            return verdict
        payload = error.payload if isinstance(error, ProtocolViolation) else ""
        self._sink(ProtocolAlert(self._login_id, None, f"{type(error).__name__}: {error}", payload))
        self._violations = 1 if self._was_stable else self._violations + 1
        if self._violations >= self._policy.violations_in_row_max:
            return Fatal(f"{self._violations} protocol violations in a row; the last: {error}")
        return verdict

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _tell(self, state: SessionState, reason: str, fatal: bool) -> None:
        self._sink(SessionChanged(self._login_id, state, reason, fatal))
