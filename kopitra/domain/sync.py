"""What is known of the difference between an account's book and its broker, folded from the journal.

Drift is judged by `drift.py`, repaired by `repair.py`; this is what both of them, the views and the next entry's risk
check remember.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.orders import ZERO

#: repairs of one account and contract by the gateway itself within `ATTEMPTS_WITHIN`; then a person is asked (R-045)
ATTEMPTS_MAX: Final = 3
ATTEMPTS_WITHIN: Final = timedelta(minutes=10)
#: foreign orders of one account and contract that are remembered as accepted, the newest
ACCEPTED_ORDERS_MAX: Final = 200
#: an execution so much younger than a read was not shown by it; brokers' clocks and ours differ by less
CLOCKS_APART: Final = timedelta(minutes=1)
#: applied repair plans that are remembered, so that applying one twice changes nothing
APPLIED_MAX: Final = 1_000

#: missed_open: less than the leader asks for. excess: more, on its side. orphan: held although the leader is out.
#: opposite: held on the other side. external: not ours. closed_by_hand: ours, and closed by somebody else.
DriftKind = Literal["missed_open", "excess", "orphan", "opposite", "external", "closed_by_hand"]


class Drift(NamedTuple):
    """One difference, in signed contracts. `qty` is what would have to be traded to end it."""

    account_id: str
    symbol: str
    #: "" for what is not ours
    leader: str
    kind: DriftKind
    qty: Decimal
    #: what should be held because of the leader, what is attributed to it and there, what the account holds in all
    target: Decimal
    held: Decimal
    broker: Decimal
    #: the follower's product, and the leader's that feeds it ("" for what is not ours)
    root: str = ""
    source: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a later look at the same place is compared with."""
        return self.symbol, self.leader, self.kind


class Unexplained(NamedTuple):
    """What reads of a position showed beside its executions, in contracts.

    A stream may tell an execution later than a read has shown what it did, or never. Which of the executions told since
    the newest read were shown by it only the next read can say; a stream keeps its order, so it is the first few.
    """

    #: time of the newest read that showed something new, by our clock
    at: datetime
    #: shown and not told so far; both, where one hides the other in the position
    bought: Decimal = ZERO
    sold: Decimal = ZERO
    #: told since the newest read and perhaps shown by it: the net of it now, and the most that it ever was on each side
    told: Decimal = ZERO
    told_bought: Decimal = ZERO
    told_sold: Decimal = ZERO

    @property
    def qty(self) -> Decimal:
        """The broker's position less ours, if the newest read had shown nothing of what was told since; signed."""
        return self.bought - self.sold

    @property
    def is_open(self) -> bool:
        """The next read says more, even where it shows the same difference."""
        return bool(self.told_bought or self.told_sold)

    def heard(self, qty: Decimal, at: datetime) -> "Unexplained":
        """An execution of so many signed contracts is told; `at`: when it was made, by the broker's clock."""
        if at > self.at + CLOCKS_APART:
            return self  # no read has shown it
        told = self.told + qty
        return self._replace(
            told=told, told_bought=max(self.told_bought, told), told_sold=max(self.told_sold, -told)
        )

    def read(self, qty: Decimal, at: datetime) -> "Unexplained":
        """A read shows a difference of `qty`. What moved it towards executions told since are these executions, what is
        left of the move is new."""
        moved = qty - self.qty
        bought, sold = self.bought, self.sold
        if moved > 0:
            explained = min(moved, sold, self.told_sold)
            sold, bought = sold - explained, bought + moved - explained
        else:
            explained = min(-moved, bought, self.told_bought)
            bought, sold = bought - explained, sold - moved - explained
        return Unexplained(at if moved or self.is_open else self.at, bought, sold)


@dataclass(slots=True)
class RepairTally:
    """Repairs of one account and contract. `count` makes each plan's name its own; `times` are the gateway's own."""

    count: int = 0
    times: deque[datetime] = field(default_factory=lambda: deque(maxlen=ATTEMPTS_MAX))


@dataclass(slots=True)
class Sync:
    """Per account and contract; empty nearly always, so that the way of a signal asks it nothing."""

    #: (account, contract) -> why its entries are stopped until a person, or a clean comparison, lifts it
    blocked: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    #: (account, contract, leader, kind) -> drift that two reads have shown
    drifts: dict[tuple[str, str, str, str], Drift] = field(
        default_factory=dict[tuple[str, str, str, str], Drift]
    )
    #: (account, contract) whose repairs a person has to take over
    parked: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    repairs: dict[tuple[str, str], RepairTally] = field(default_factory=dict[tuple[str, str], RepairTally])
    applied: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    #: (account, contract) -> what reads of the position there showed beside its executions; nearly always nothing
    unexplained: dict[tuple[str, str], Unexplained] = field(
        default_factory=dict[tuple[str, str], Unexplained]
    )
    #: (account, contract) -> foreign contracts that a person has accepted
    accepted: dict[tuple[str, str], Decimal] = field(default_factory=dict[tuple[str, str], Decimal])
    #: (account, contract) -> the broker's ids of working orders that nobody here sent: those for which entries stop,
    #: and those that a person has accepted
    foreign_orders: dict[tuple[str, str], tuple[str, ...]] = field(
        default_factory=dict[tuple[str, str], tuple[str, ...]]
    )
    accepted_orders: dict[tuple[str, str], tuple[str, ...]] = field(
        default_factory=dict[tuple[str, str], tuple[str, ...]]
    )
    #: (leader, account, root) -> signed contracts of the present stretch that a person closed
    by_hand: dict[tuple[str, str, str], Decimal] = field(default_factory=dict[tuple[str, str, str], Decimal])

    def may_repair(self, account_id: str, symbol: str, now: datetime) -> bool:
        """The gateway itself may try (again)."""
        tally = self.repairs.get((account_id, symbol))
        if tally is None or len(tally.times) < ATTEMPTS_MAX:
            return True
        return now - tally.times[0] >= ATTEMPTS_WITHIN

    def of_account(self, account_id: str) -> tuple[Drift, ...]:
        """Drift of an account, by contract, leader and kind."""
        return tuple(d for key, d in sorted(self.drifts.items()) if key[0] == account_id)

    def closed_by_hand(self, key: tuple[str, str, str], qty: Decimal) -> None:
        """So many signed contracts more of the present stretch (leader, account, root) that a person closed."""
        if qty:
            self.by_hand[key] = self.by_hand.get(key, Decimal(0)) + qty

    def went_flat(self, account_id: str) -> None:
        """The broker confirmed that the account holds nothing and nothing works. What was closed by hand stays so."""
        for held in (self.unexplained, self.accepted, self.foreign_orders, self.accepted_orders):
            for key in [k for k in held if k[0] == account_id]:
                del held[key]
        for key in [k for k in self.drifts if k[0] == account_id]:
            del self.drifts[key]
