"""One account's waiting orders: bounded lanes, most urgent first. Mostly empty: orders go straight to the socket."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kopitra.domain.orders import LANES, Lane, OrderIntent
from kopitra.ports import Encoded, NotSent

#: orders waiting per account, all lanes together (R-048)
WAITING_MAX: Final = 64


@dataclass(slots=True)
class Stamp:
    """Monotonic nanoseconds of the hops before the write."""

    received_ns: int
    planned_ns: int
    durable_ns: int


@dataclass(slots=True)
class Place:
    """An approved order on its way, with the bracket children that travel in the same request."""

    intent: OrderIntent
    attached: tuple[OrderIntent, ...]
    encoded: Encoded | NotSent
    stamp: Stamp
    #: entries are not written after this; 0 for exits, which have no age
    deadline_ns: int
    #: protective orders that will follow it one by one
    follows: int = 0

    def carries(self, cl_ord_id: str) -> bool:
        """It is this order, or takes it along."""
        return self.intent.cl_ord_id == cl_ord_id or any(c.cl_ord_id == cl_ord_id for c in self.attached)


class AccountQueue:
    """Lanes of one account."""

    __slots__ = ("_lanes", "waiting")

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[Place]] = {}
        for lane in LANES:
            self._lanes[lane] = deque()  # bounded: all lanes together by push, to WAITING_MAX
        self.waiting = 0

    def push(self, place: Place) -> Place | None:
        """Take an order. Returns what had to give way: the order itself when it is an entry and the queue is full,
        a queued entry when an exit needs its place (R-050), None when there was room."""
        lane = place.intent.lane
        displaced: Place | None = None
        if self.waiting >= WAITING_MAX:
            entries = self._lanes["entry"]
            if lane == "entry" or not entries:
                return place
            displaced = entries.pop()
            self.waiting -= 1
        self._lanes[lane].append(place)
        self.waiting += 1
        return displaced

    @property
    def exits_wait(self) -> bool:
        """A leader's close is among them."""
        return bool(self._lanes["exit"])

    def push_front(self, place: Place) -> None:
        """Give back the order that could not be written just now; it was the first of its lane."""
        self._lanes[place.intent.lane].appendleft(place)
        self.waiting += 1

    def pop(self) -> Place | None:
        """The most urgent order."""
        for lane in self._lanes.values():
            if lane:
                self.waiting -= 1
                return lane.popleft()
        return None

    def take_out(self, cl_ord_id: str) -> Place | None:
        """Remove one order, wherever it waits; None when it does not."""
        for lane in self._lanes.values():
            for place in lane:
                if place.intent.cl_ord_id == cl_ord_id:
                    lane.remove(place)
                    self.waiting -= 1
                    return place
        return None

    def places(self) -> Iterator[Place]:
        """Everything that waits, for those who only look."""
        for lane in self._lanes.values():
            yield from lane

    def overdue(self, now_ns: int) -> Iterator[Place]:
        """Take out the entries whose deadline has passed."""
        entries = self._lanes["entry"]
        while entries and entries[0].deadline_ns <= now_ns:
            self.waiting -= 1
            yield entries.popleft()
