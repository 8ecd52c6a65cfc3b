"""How many requests a login may still send, in lanes, so that an exit never waits behind an entry.

Several sliding windows hold together (for instance 80 a minute and 5,000 an hour). The lanes that can wait
may fill a window only to their ceiling; what is above belongs to flatten, cancel and exit. Beside that fixed share
they leave what the way out of everything open would cost now (`kept`), which can be far more than a quarter. Entries
and polls then leave a tenth of the window beside it, so that stops can still be moved and a close be made in parts;
and all of them leave what a flatten reads before its first close.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal

from brokers._kit.sliding import SlidingCount
from kopitra.ports import BOUNDLESS, Forecast, NotSent, ReadLane

_NS_PER_S: Final = 1_000_000_000


class Lane(IntEnum):
    """Why a request is sent, most urgent first."""

    FLATTEN = 0  # kill, flatten, cancel, exits that leave, and what a flatten reads
    RECOVER = 1  # the steps of a session's life: without it no exit can leave
    EXIT = 2  # reads that resolve a doubt
    PROTECT = 3  # protective stops, placed or moved
    ENTRY = 4
    STATUS = 5  # polling, dashboards


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests in any `per_s` seconds."""

    limit: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The tokens are taken."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was taken. `too-large` never fits, so its wait is infinite; `kept`: what is left is for exits."""

    reason: Literal["window", "kept", "penalty", "too-large"]
    retry_after_s: float


GRANTED: Final = Granted()

#: requests of each window that the reads of a flatten leave to its closes and cancels at least
KEPT_FOR_CLOSES: Final = 8

#: seconds after which to look whether less must be kept: that depends on what is closed, and not on time
KEPT_RETRY_S: Final = 1.0
#: seconds that a refusal silences FLATTEN and RECOVER at most, and all others
TRY_AGAIN_S: Final = 60.0
SILENCE_MAX_S: Final = 86_400.0
#: the lanes of reads
READS: Final[Mapping[ReadLane, Lane]] = {
    "flatten": Lane.FLATTEN,
    "exit": Lane.EXIT,
    "status": Lane.STATUS,
}

#: of this many parts of a window entries and polls leave one beside the way out
_SLACK_PARTS: Final = 10
#: and for the reads with which a flatten begins one of so many at most
_READS_PARTS: Final = 4

_CEILINGS: Final = {
    Lane.FLATTEN: 1.0,
    Lane.RECOVER: 1.0,
    Lane.EXIT: 1.0,
    Lane.PROTECT: 0.75,
    Lane.ENTRY: 0.75,
    Lane.STATUS: 0.6,
}


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """`ceilings`: the share of each window a lane may fill; a quarter at least is kept for the first three. `reads`:
    requests with which a flatten of all accounts begins."""

    windows: Sequence[Window]
    ceilings: Mapping[Lane, float] = field(default_factory=lambda: dict(_CEILINGS))
    reads: int = 0

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError("a budget needs a window: without one nothing bounds it")
        if any(window.limit < 1 or window.per_s <= 0 for window in self.windows):
            raise ValueError("a budget window needs limit >= 1 and per_s > 0")
        if any(self.ceilings[lane] > 0.75 for lane in Lane if lane > Lane.EXIT):
            raise ValueError("keep at least a quarter of every window for flatten and exit: ceilings <= 0.75")
        if any(self.ceilings[lane] != 1.0 for lane in Lane if lane <= Lane.EXIT):
            raise ValueError("flatten, recover and exit may fill the whole window: their ceilings are 1.0")


class Budget:
    """The budget of one login (or application). Pure: the caller brings the monotonic time."""

    def __init__(self, policy: BudgetPolicy, on_pause: Callable[[float], None] | None = None) -> None:
        """`on_pause` hears each time the broker asks for silence: the seconds."""
        self._on_pause = on_pause
        #: of each window: what is used, what each lane may fill, and what each may fill with the way out beside it
        self._windows = [
            (
                SlidingCount(int(window.per_s * _NS_PER_S)),
                tuple(int(window.limit * policy.ceilings[lane]) for lane in Lane),
                tuple(_beside_exits(window.limit, policy.reads, lane) for lane in Lane),
            )
            for window in policy.windows
        ]
        self._per_s = tuple(window.per_s for window in policy.windows)
        #: requests that cancel and close what is open now: every lane but the first three leaves them
        self.kept: Callable[[], int] = _nothing
        #: by lane; FLATTEN and RECOVER only since a request of their own, or of a more urgent lane, was refused
        self._silent_until_ns = [0] * len(Lane)

    def spent(self, times_ns: Iterable[int]) -> None:
        """Requests of this login that somebody else has sent at these times, oldest first: they fill the windows."""
        for at_ns in times_ns:
            for count, _, _ in self._windows:
                count.add(at_ns, 1)

    def try_take(self, lane: Lane, now_ns: int, cost: int = 1, spare: int = 0) -> Granted | Denied:
        """Take `cost` requests from every window, leaving room for `spare` more, or none from any."""
        # The way of nearly every order; what is refused is worked out by `forecast`.
        if now_ns < self._silent_until_ns[lane]:
            return self.forecast(lane, now_ns, cost + spare)
        kept = self._kept_from(lane)
        for count, ceilings, wholes in self._windows:
            wanted = count.total(now_ns) + cost + spare
            if wanted > ceilings[lane] or wanted + kept > wholes[lane]:
                return self.forecast(lane, now_ns, cost + spare)
        for count, _, _ in self._windows:
            count.add(now_ns, cost)
        return GRANTED

    def forecast(self, lane: Lane, now_ns: int, cost: int) -> Granted | Denied:
        """What `try_take` would answer; for a whole fan-out at once before its first request."""
        silent_ns = self._silent_until_ns[lane] - now_ns
        if silent_ns > 0:
            return Denied("penalty", silent_ns / _NS_PER_S)
        wait_ns, kept = 0, self._kept_from(lane)
        for count, ceilings, wholes in self._windows:
            if ceilings[lane] < cost:
                return Denied("too-large", float("inf"))
            room = min(ceilings[lane], wholes[lane] - kept) - cost
            if room < 0:
                return Denied("kept", KEPT_RETRY_S)
            if count.total(now_ns) > room:
                wait_ns = max(wait_ns, count.ns_until(now_ns, room))
        return Denied("window", wait_ns / _NS_PER_S) if wait_ns else GRANTED

    def room(self, lane: Lane, now_ns: int) -> int:
        """How many single requests of this lane fit now."""
        if now_ns < self._silent_until_ns[lane]:
            return 0
        kept = self._kept_from(lane)
        tops = ((count, min(top[lane], whole[lane] - kept)) for count, top, whole in self._windows)
        return min(max(0, top - count.total(now_ns)) for count, top in tops)

    def _kept_from(self, lane: Lane) -> int:
        return self.kept() if lane > Lane.EXIT else 0

    def outlook(self, now_ns: int) -> Forecast:
        """The same for people and for a fan-out: what entries and polls may still send, and of how many."""
        entries, polls, left, tightest = BOUNDLESS, BOUNDLESS, BOUNDLESS, 0
        for number, (count, top, whole) in enumerate(self._windows):
            used = count.total(now_ns)
            if top[Lane.ENTRY] - used < entries:
                entries, tightest = top[Lane.ENTRY] - used, number
            polls, left = min(polls, top[Lane.STATUS] - used), min(left, whole[Lane.ENTRY] - used)
        kept = self.kept()
        limit = self._windows[tightest][1][Lane.ENTRY]
        if now_ns < self._silent_until_ns[Lane.ENTRY]:
            return Forecast(0, 0, limit, self._per_s[tightest], self.paused_s(now_ns), 0, kept)
        return Forecast(max(0, entries), max(0, polls), limit, self._per_s[tightest], 0.0, left - kept, kept)

    def take_read(self, lane: Lane, now_ns: int, cost: int) -> Granted | Denied:
        """`try_take` for reading."""
        return self.try_take(lane, now_ns, cost, self._spared_by(lane))

    def room_to_read(self, lane: Lane, now_ns: int, cost: int) -> Granted | Denied:
        """What `take_read` would answer."""
        return self.forecast(lane, now_ns, cost + self._spared_by(lane))

    def _spared_by(self, lane: Lane) -> int:
        """What a flatten reads leaves its own closes and cancels, but never more than half of the smallest window:
        without a read it would close nothing at all."""
        if lane is not Lane.FLATTEN:
            return 0
        return min(max(KEPT_FOR_CLOSES, self.kept()), min(tops[0] for _, tops, _ in self._windows) // 2)

    def pause(self, now_ns: int, seconds: float, lane: Lane = Lane.ENTRY) -> float:
        """The broker asked for silence in answer to a request of `lane`; a shorter pause never ends a longer one.

        FLATTEN passes until one of its own requests is refused, because an exit is worth the attempt (R-062), and so
        does RECOVER, because an exit needs a session to leave on. Both try again after `TRY_AGAIN_S` at the latest: no
        word of a broker shuts the way out for a day. Returns the seconds that `lane` waits.
        """
        seconds = min(seconds, SILENCE_MAX_S)
        for silent in range(min(lane, Lane.EXIT), len(Lane)):
            until_ns = now_ns + int(_obeyed_s(silent, seconds) * _NS_PER_S)
            self._silent_until_ns[silent] = max(self._silent_until_ns[silent], until_ns)
        if self._on_pause is not None:
            self._on_pause(seconds)
        return _obeyed_s(lane, seconds)

    def paused_s(self, now_ns: int) -> float:
        """Seconds of silence left."""
        return max(0, self._silent_until_ns[Lane.ENTRY] - now_ns) / _NS_PER_S


def _obeyed_s(lane: int, seconds: float) -> float:
    return min(seconds, TRY_AGAIN_S) if lane < Lane.EXIT else seconds


def _beside_exits(limit: int, reads: int, lane: Lane) -> int:
    if lane <= Lane.EXIT:
        return limit
    slack = limit // _SLACK_PARTS if lane >= Lane.ENTRY else 0
    return limit - min(reads, limit // _READS_PARTS) - slack


def _nothing() -> int:
    """Nothing is open."""
    return 0


def not_sent(denied: Denied) -> NotSent:
    """The refusal of an order, in words."""
    if denied.reason == "penalty":
        return NotSent("penalty", "The broker asked this login for silence.", denied.retry_after_s)
    text = (
        "What is left of the login's request budget is kept for closing what is open."
        if denied.reason == "kept"
        else "The login's request budget is used up."
    )
    return NotSent("rate_budget", text, denied.retry_after_s)
