"""Expected but not seen: each follower's part of a signal or a repair ends, or rests at its broker with the numbers it
was given, within three seconds; else a named alert (`not-seen-in-time`) is open until it does.

Nobody else has to notice that something did not happen. A signal costs one append; what became of it is asked of the
book when its time is over. What a predecessor planned has three seconds from the start.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.state import State
from kopitra.domain.book import Book
from kopitra.domain.fanout import FollowerLeg
from kopitra.domain.journal import AlertCleared, AlertRaised, Entry
from kopitra.domain.orders import TERMINAL, ChildOrder, ReplaceIntent
from kopitra.domain.repair import RepairPlan

#: the alert's code
CODE: Final = "not-seen-in-time"
#: seconds that a follower's part of a signal may take
SEEN_WITHIN_S: Final = 3.0
#: seconds between two looks
LOOK_EVERY_S: Final = 0.25
#: signals that are judged in one turn of the loop: fifty at once would hold up an order for more than a millisecond
AT_ONCE: Final = 8
#: signals whose time is not over; one more makes the oldest be judged at once
SIGNALS_MAX: Final = 10_000
#: alerts that are open; one more is raised and not followed
OPEN_MAX: Final = 10_000
_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


class _Due(NamedTuple):
    at_ns: int
    list_id: str
    legs: tuple[FollowerLeg, ...]
    #: its followers' own delays are over too
    last: bool = False


class _Open(NamedTuple):
    """An alert that is open: what it was told of, and the part of the plan that it is about."""

    cl_ord_id: str
    list_id: str
    leg: FollowerLeg


class Expected:
    """Waits for what was planned. `run` is its task."""

    def __init__(self, state: State, note: Callable[[str, Entry], object]) -> None:
        self._state = state
        self._note = note
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self._due: deque[_Due] = deque()  # bounded: SIGNALS_MAX in planned
        #: those whose follower's delay is longer, looked at every time
        self._delayed: deque[_Due] = deque()  # bounded: SIGNALS_MAX in _judge
        self._open: dict[tuple[str, str], _Open] = {}  # bounded: OPEN_MAX in _judge

    @property
    def open(self) -> int:
        """Alerts that are open."""
        return len(self._open)

    def planned(self, list_id: str, legs: tuple[FollowerLeg, ...], planned_ns: int) -> None:
        """A signal was decided (monotonic)."""
        self._due.append(_Due(planned_ns + int(SEEN_WITHIN_S * _NS), list_id, legs))
        if len(self._due) > SIGNALS_MAX:
            self._judge(self._due.popleft())

    def repaired(self, plan: RepairPlan) -> None:
        """A repair's orders leave."""
        accounts = sorted({intent.account_id for intent in plan.intents})
        legs = tuple(_part(account_id, plan.list_id, ()) for account_id in accounts)
        self.planned(plan.list_id, legs, self._state.clock.monotonic_ns())

    def take_up(self) -> None:
        """After a start: what a predecessor planned and nobody has seen yet, requests included."""
        book, now_ns = self._state.book, self._state.clock.monotonic_ns()
        found: dict[tuple[str, str], list[ChildOrder]] = {}
        for (account_id, leader), children in book.open.items():
            for child in children.values() if leader else ():  # a flatten watches its own closes
                if child.cancel is not None or child.moving or not is_seen(book, child):
                    found.setdefault((child.intent.list_id, account_id), []).append(child)
        for (list_id, account_id), late in found.items():
            self.planned(list_id, (_part(account_id, list_id, late),), now_ns)

    async def run(self) -> None:
        """Look until cancelled."""
        self.take_up()
        more = False
        while True:
            await asyncio.sleep(0 if more else LOOK_EVERY_S)
            more = self.look()

    def look(self) -> bool:
        """Judge what is due, and close what has been seen since; True when more is due."""
        now_ns = self._state.clock.monotonic_ns()
        judged = 0
        while self._due and self._due[0].at_ns <= now_ns:
            if judged == AT_ONCE:
                return True
            self._judge(self._due.popleft())
            judged += 1
        for _ in range(len(self._delayed)):
            due = self._delayed.popleft()
            if due.at_ns <= now_ns:
                self._judge(due)
            else:
                self._delayed.append(due)
        if self._open:
            self._close()
        return False

    def _judge(self, due: _Due) -> None:
        try:
            found = unseen(self._state.book, due.list_id, due.legs)
        except Exception as error:  # noqa: BLE001 - whose part it is does not show: none of them goes on unwatched
            for leg in due.legs:
                self.failed(leg.account_id, "looking for what was planned", error)
            return
        if not found:
            return  # nearly always
        for leg in due.legs:
            missing = found.get(leg.account_id)
            if missing is None or (leg.account_id, due.list_id) in self._open:
                continue
            delay_ms = 0 if due.last else max((a.intent.delay_ms for a in leg.orders), default=0)
            if delay_ms and len(self._delayed) < SIGNALS_MAX:
                self._delayed.append(_Due(due.at_ns + delay_ms * _NS_PER_MS, due.list_id, (leg,), last=True))
                continue
            self._raise(due.list_id, leg, missing)

    def _raise(self, list_id: str, leg: FollowerLeg, missing: ChildOrder) -> None:
        name = missing.intent.cl_ord_id
        text = (
            f"{SEEN_WITHIN_S:g} seconds after its signal {name} is {_told(self._state.book, missing)}: look at the "
            "account's session and at the order on its broker's screen"
        )
        workspace = self._state.workspace_of(leg.account_id)
        self._note(workspace, AlertRaised(CODE, text, leg.account_id, name))
        if len(self._open) < OPEN_MAX:
            self._open[leg.account_id, list_id] = _Open(name, list_id, leg)

    def _close(self) -> None:
        book = self._state.book
        for key, alert in list(self._open.items()):
            account_id = key[0]
            if account_id in unseen(book, alert.list_id, (alert.leg,)):
                continue
            del self._open[key]
            found = book.orders.get(alert.cl_ord_id)
            text = f"{alert.cl_ord_id} is {found.state if found is not None else 'over'}"
            cleared = AlertCleared(CODE, text, account_id, alert.cl_ord_id)
            self._note(self._state.workspace_of(account_id), cleared)


def unseen(book: Book, list_id: str, legs: Sequence[FollowerLeg]) -> dict[str, ChildOrder]:
    """By account the first order of a signal, what followed from it included, that has neither ended nor rests at the
    broker; or one whose cancel or move it asked for and nobody answered."""
    found: dict[str, ChildOrder] = {}
    for name in book.lists.get(list_id, ()):
        child = book.orders.get(name)
        if child is not None and not is_seen(book, child):
            found.setdefault(child.intent.account_id, child)
    for leg in legs:
        for request in (*leg.cancels, *leg.replaces):
            child = book.orders.get(request.orig_cl_ord_id)
            if child is not None and _waits(child, request.cl_ord_id):
                found.setdefault(leg.account_id, child)
    return found


def _waits(child: ChildOrder, request: str) -> bool:
    """A cancel or move of it is not answered; newer moves before the answer do not hide an older one."""
    if child.state in TERMINAL:
        return False
    return child.moving == request or (child.cancel is not None and child.cancel.cl_ord_id == request)


def _told(book: Book, child: ChildOrder) -> str:
    if not is_seen(book, child):
        return child.state
    return f"{child.state}, and {'its cancel' if child.cancel is not None else 'its move'} is not answered"


def _part(account_id: str, list_id: str, asked: Iterable[ChildOrder]) -> FollowerLeg:
    """An account's part of what no signal planned just now: its orders are those of the list, its requests those that
    these children wait for."""
    children = list(asked)
    return FollowerLeg(
        account_id, "", 0, "approved", "", "", "", None, None,
        cancels=tuple(child.cancel for child in children if child.cancel is not None),
        replaces=tuple(
            ReplaceIntent(child.moving, list_id, account_id, child.intent.cl_ord_id)
            for child in children if child.moving
        ),
    )  # fmt: skip


def is_seen(book: Book, child: ChildOrder) -> bool:
    """It has ended, rests acknowledged at its broker, is with a person, or waits for one of which that is true."""
    if child.state in TERMINAL or child.state == "parked" or child.superseded:
        return True
    intent = child.intent
    if child.state == "planned":
        waited = [book.orders.get(name) for name in intent.after]
        return intent.role in ("stop", "target") and all(w is None or _at_rest(w) for w in waited)
    return _at_rest(child)


def _at_rest(child: ChildOrder) -> bool:
    if child.state in TERMINAL or child.state == "parked":
        return True
    return child.state in ("acked", "working", "partial") and child.intent.ord_type != "market"
