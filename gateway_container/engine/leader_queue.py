"""A leader's own acts on their way to the intake: in order, and never lost to a database that is away.

Acts are numbered as they are told. One that cannot be accepted now, or whose commit failed, waits by its number, so
that a fill never comes behind the exit that followed it. One that a newer act has overtaken all the same (its exit went
by the local file while its own commit was unclear) is planned as what is left of it: it closes, and opens nothing
(I-10).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from gateway_container.engine.away import Away
from gateway_container.engine.intake import Intake
from gateway_container.engine.state import State
from kopitra.domain.errors import LeaseLost, QueueFull, SignalRefused, StoreError, Unavailable
from kopitra.domain.overtaking import standing_still
from kopitra.domain.signals import Signal
from kopitra.store.drafts import Committed, Duplicate

#: leader signals that wait for the database
WAITING_MAX: Final = 5_000
#: seconds between attempts
RETRY_S: Final = 0.25
#: fills that only grow what the leader holds: nothing before them is undone
_GROWS: Final = frozenset({"enter", "add"})


class Told(NamedTuple):
    """A signal; `number`: its place among all that leaders' accounts told."""

    number: int
    signal: Signal
    received_ns: int


class LeaderQueue:
    """Between the trackers and the intake."""

    def __init__(
        self,
        state: State,
        intake: Intake,
        away: Away,
        alert: Callable[[str, str, str], None],
        at_rest: Callable[[Signal], Signal | None],
    ) -> None:
        self._state = state
        self._intake = intake
        self._away = away
        self._alert = alert
        #: the signal of a resting order as the order rests now; None: it is over
        self._at_rest = at_rest
        self._number = 0
        #: (leader, product) -> number of its newest fill that shrank what it held, or that was taken for good
        self._passed: dict[tuple[str, str], int] = {}  # bounded: leaders and their products
        self._waiting: deque[Told] = deque()  # bounded: WAITING_MAX in _wait
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> tuple[Signal, ...]:
        """What waits for the database, in the order in which it was told."""
        return tuple(told.signal for told in self._waiting)

    def take(self, signal: Signal, received_ns: int) -> None:
        """One act of a leader. What waits already goes before it."""
        self._number += 1
        told = Told(self._number, signal, received_ns)
        if signal.is_fill and signal.action not in _GROWS:
            self._pass(told)
        if self._waiting:
            self._wait(told)
        else:
            self._accept(told)

    def _pass(self, told: Told) -> None:
        """What was told before it opens nothing any more."""
        if told.signal.is_fill:
            key = (told.signal.leader, told.signal.symbol)
            self._passed[key] = max(told.number, self._passed.get(key, 0))

    def _accept(self, told: Told) -> bool:
        """False: it waits."""
        overtaken = self._is_overtaken(told)
        signal = standing_still(told.signal, self._state.book) if overtaken else told.signal
        try:
            pending = self._intake.accept(signal, None, told.received_ns or None, exits_only=overtaken)
        except SignalRefused as refused:
            self._alert("leader-signal-refused", refused.message, "")
            return True
        except Duplicate:
            return True  # told twice: the drop copy of a fill that came again
        except (StoreError, QueueFull):
            self._wait(told)
            return False
        except Exception as error:  # noqa: BLE001 - one act that cannot be planned must not take the others with it
            self._lost(told, repr(error))
            return True
        pending.committed.add_done_callback(partial(self._settled, told))
        return True

    def _settled(self, told: Told, done: asyncio.Future[Committed]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._pass(told)
        elif isinstance(error, Unavailable):
            # An unclear commit is tried again too: if it was durable after all, the second try is a duplicate.
            self._wait(told)
        elif not isinstance(error, Duplicate | LeaseLost):
            self._lost(told, str(error))

    def _is_overtaken(self, told: Told) -> bool:
        signal = told.signal
        return signal.is_fill and told.number < self._passed.get((signal.leader, signal.symbol), 0)

    def _lost(self, told: Told, why: str) -> None:
        signal = told.signal
        text = (
            f"{signal.signal_id} ({signal.action} {signal.symbol}) is dropped: {why}; compare its followers"
        )
        self._alert("leader-signal-lost", text, "")

    # waiting -----------------------------------------------------------------------------------------------

    def _wait(self, told: Told) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._lost(self._waiting.popleft(), "too many signals wait for the database")
        place = len(self._waiting)
        while place and self._waiting[place - 1].number > told.number:
            place -= 1
        self._waiting.insert(place, told)
        self._try_later()
        if self._shrinks(told.signal):
            self._take_away(told.number)

    def _shrinks(self, signal: Signal) -> bool:
        try:
            return self._away.shrinks(signal)
        except Exception:  # noqa: BLE001 - told by whoever takes it
            return False

    def _take_away(self, number: int) -> None:
        """An exit does not wait for the database, and what came before it must not come after it."""
        while self._waiting and self._waiting[0].number <= number:
            current = self._current(self._waiting[0])
            if current is not None and not self._taken_away(current):
                return
            self._waiting.popleft()

    def _taken_away(self, told: Told) -> bool:
        """False: neither the journal nor the file takes it, so it waits."""
        overtaken = self._is_overtaken(told)
        signal = standing_still(told.signal, self._state.book) if overtaken else told.signal
        try:
            self._away.take(signal, told.received_ns, overtaken=overtaken)
        except SignalRefused as refused:
            self._alert("leader-signal-refused", refused.message, "")
        except (StoreError, QueueFull):
            return False
        except Exception as error:  # noqa: BLE001 - one act that cannot be planned must not hold the exits up
            self._lost(told, repr(error))
        else:
            self._pass(told)
        return True

    def _try_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._again)

    def _again(self) -> None:
        self._timer = None
        try:
            self._flush()
        finally:
            if self._waiting:
                self._try_later()

    def _flush(self) -> None:
        """As long as they are accepted; then the exits among them by the file."""
        while self._waiting:
            told = self._waiting.popleft()
            current = self._current(told)
            if current is not None and not self._accept(current):
                break
        for told in list(self._waiting):
            if self._shrinks(told.signal):
                self._take_away(told.number)

    def _current(self, told: Told) -> Told | None:
        """A resting order that moved or ended while its signal waited is told of as it is now, or not at all."""
        signal = told.signal
        if signal.is_fill or signal.ord_type == "market":
            return told  # a fill, an end, or a leader that is out
        try:
            now = self._at_rest(signal)
        except Exception as error:  # noqa: BLE001 - told; the acts behind it go on
            self._lost(told, repr(error))
            return None
        return None if now is None else told._replace(signal=now)

    def stop(self) -> None:
        """No more retries."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
