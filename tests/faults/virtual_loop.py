"""An event loop in virtual time: nothing waits, everything happens in the same order for the same seed (H-1, T-20).

The loop has callbacks and timers and nothing else. Sockets, threads, signals and subprocesses are not there: asyncio's
own base class raises NotImplementedError for each of them, so a simulation cannot touch the outside by accident. When
nothing is ready, time jumps to the next timer.

Several *processes* share one loop. A process is a context variable: whatever a process starts inherits it, so a
killed process stops between two steps and not a single line of it runs any more, `finally` included, as after
kill -9. A paused one (SIGSTOP) keeps its steps until it goes on.
"""

import asyncio
import heapq
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from datetime import datetime, timedelta
from random import Random
from types import CoroutineType
from typing import Final, TypeVar, cast
from weakref import WeakKeyDictionary

T = TypeVar("T")

_NS: Final = 1_000_000_000
#: steps of one run: more means that two parts keep each other busy without time going by
STEPS_MAX: Final = 5_000_000
#: times that one coroutine may await again while it is being closed
CLOSING_MAX: Final = 100

_owner: ContextVar["Process | None"] = ContextVar("simulated process", default=None)


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set, but somebody still waits."""


class Process:
    """One simulated operating-system process: what runs in its context lives, pauses and dies with it."""

    __slots__ = ("alive", "context", "held", "name", "paused")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        #: steps that came while it was paused
        self.held: list[asyncio.Handle] = []
        self.context: Context = copy_context()
        self.context.run(_owner.set, self)


class _Step(asyncio.TimerHandle):
    """A callback whose owner is looked up once."""

    __slots__ = ("owner",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        chosen = self._context
        self.owner: Process | None = chosen.get(_owner)


class VirtualLoop(asyncio.AbstractEventLoop):
    """`shuffle` makes the order of what is ready at one instant a draw of its own; None keeps first come, first run."""

    def __init__(self, shuffle: Random | None = None) -> None:
        self._now = 0.0
        self._ready: deque[_Step] = deque()  # bounded: STEPS_MAX in all
        self._timers: list[tuple[float, int, _Step]] = []
        self._count = 0
        self._shuffle = shuffle
        self._running = False
        self._closed = False
        #: in the order of their making
        self._tasks: WeakKeyDictionary[asyncio.Task[object], None] = WeakKeyDictionary()
        self.steps = 0
        #: called before every step, with its number: the crash sweep kills here
        self.before_step: Callable[[int], None] | None = None
        #: errors that no task took, in order; a run with one has failed
        self.faults: list[str] = []

    # what asyncio asks of a loop ----------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        step = _Step(self._now, callback, args, self, context)
        self._ready.append(step)
        return step

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        step = _Step(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, step))
        return step

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave when their time comes."""

    def create_future(self) -> "asyncio.Future[object]":
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[object, object, T] | Generator["asyncio.Future[object] | None", None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[cast("asyncio.Task[object]", task)] = None
        return task

    def call_exception_handler(self, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not self._closed and error is not None:
            task = context.get("task") or context.get("future")
            name = task.get_name() if isinstance(task, asyncio.Task) else ""
            self.faults.append(f"{context.get('message')} {name}: {error!r}")

    def default_exception_handler(self, context: dict[str, object]) -> None:
        self.call_exception_handler(context)

    def close(self) -> None:
        """Forget everything: what still waits never goes on.

        A killed process leaves half-done coroutines behind. Their `finally` blocks run here, in the order of their
        making and while there is a loop; the garbage collector would run them in the middle of somebody else's test.
        """
        self._closed = True
        self.before_step = None
        with self._current():
            while waiting := [task for task in self._tasks if not _is_over(task)]:
                for task in waiting:
                    _end(task)
        self._ready.clear()
        self._timers.clear()

    # running ------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[object, object, T]) -> T:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run until the coroutine is over. Raises Deadlock when it can never be."""
        with self._current():
            task = self.create_task(future)
            while not task.done():
                self._turn()
        return task.result()

    @contextmanager
    def _current(self) -> Generator[None]:
        asyncio.events._set_running_loop(self)
        self._running = True
        try:
            yield
        finally:
            self._running = False
            asyncio.events._set_running_loop(None)

    def _turn(self) -> None:
        """Everything that is ready at this instant, once."""
        ready, timers = self._ready, self._timers
        if not ready:
            self._jump()
        now = self._now
        while timers and timers[0][0] <= now:
            step = heapq.heappop(timers)[2]
            if not step.cancelled():
                ready.append(step)
        if self._shuffle is not None and len(ready) > 1:
            self._shuffle.shuffle(ready)
        for _ in range(len(ready)):
            self._run(ready.popleft())

    def _jump(self) -> None:
        """Nothing is ready: the next timer's time is now."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock("Somebody waits for something that nobody will ever do.")
        self._now = max(self._now, timers[0][0])

    def _run(self, step: _Step) -> None:
        if step.cancelled():
            return
        owner = step.owner
        if owner is not None and (not owner.alive or owner.paused):
            if owner.alive:
                owner.held.append(step)
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{STEPS_MAX} steps and no end: two parts keep each other busy.")
        if self.before_step is not None:
            self.before_step(self.steps)
            if owner is not None and not owner.alive:
                return
        step._run()

    def go_on(self, process: Process) -> None:
        """End a pause: what came meanwhile runs now."""
        process.paused = False
        held, process.held = process.held, []
        for step in held:
            self._ready.append(step)  # pyright: ignore[reportArgumentType] - only steps are held


def _is_over(task: asyncio.Task[object]) -> bool:
    return task.done() or inspect.getcoroutinestate(_coroutine(task)) == inspect.CORO_CLOSED


def _coroutine(task: asyncio.Task[object]) -> "CoroutineType[object, object, object]":
    return cast("CoroutineType[object, object, object]", task.get_coro())


def _end(task: asyncio.Task[object]) -> None:
    """Close its coroutine; what that says or raises, the dead do not hear."""
    for _ in range(CLOSING_MAX):
        with suppress(BaseException):  # RuntimeError, too: it awaits once more
            _coroutine(task).close()
        if _is_over(task):
            return
    raise Deadlock(f"{task.get_name()} goes on when it is closed.")


class VirtualClock:
    """`kopitra.ports.Clock` in virtual time. Every process has a wall clock of its own, wrong by `skew_s`."""

    def __init__(self, loop: VirtualLoop, start: datetime, *, boot_ns: int = _NS) -> None:
        self._loop = loop
        self._start = start
        #: monotonic clocks of two machines have nothing to do with each other
        self._boot_ns = boot_ns
        self.skew_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time() + self.skew_s)

    def monotonic_ns(self) -> int:
        return self._boot_ns + int(self._loop.time() * _NS)
