"""The book: what is known of leaders, followers and orders, folded from the journal and from nothing else.

One mutable object per shard with a single writer (the fold). The plan reads it and never changes it. Every map has
a named bound; what leaves a bounded map is history that the journal still holds.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, TypeVar

from kopitra.domain.flattening import Flattening
from kopitra.domain.loss_ladder import Standing
from kopitra.domain.measuring import Measure
from kopitra.domain.orders import DOUBTFUL, LIVE, TERMINAL, ZERO, ChildOrder, Role, State
from kopitra.domain.pending_exits import ExitKey, PendingExit
from kopitra.domain.signals import Side, sign
from kopitra.domain.streams import LeaderStream
from kopitra.domain.switches import SwitchBoard
from kopitra.domain.sync import Sync
from kopitra.domain.way_out import WayOut

#: children kept in memory after their end, oldest leave first
ENDED_ORDERS_MAX: Final = 50_000
#: executions remembered per account to recognise repeats; what is not newer than those it forgot was counted
EXEC_IDS_MAX: Final = 10_000
#: entries remembered per account for the orders-per-minute check
ORDER_TIMES_MAX: Final = 1_000
_MINUTE: Final = timedelta(seconds=60)
#: lost ids of ours that are remembered; more of them than this are told and not remembered
STRANGERS_MAX: Final = 10_000
#: working orders of one leader in one product
LEADER_ORDERS_MAX: Final = 500


@dataclass(slots=True)
class LeaderOrder:
    """A leader's resting order: quantity still open.

    `counts`: part of the leader's exposure, and mirrored before it fills. Stops and targets do not count, nor do
    entries on the other side of what the leader holds or rests: those are followed when they fill.
    """

    side: Side
    leaves: Decimal
    counts: bool
    #: as its leader last told them
    price: Decimal | None = None
    stop_price: Decimal | None = None

    @property
    def signed(self) -> Decimal:
        """Leaves with the side's sign."""
        return self.leaves * sign(self.side)


@dataclass(slots=True)
class LeaderPosition:
    """A leader in one product: signed contracts held, and resting orders by the leader's own order id."""

    qty: Decimal = ZERO
    working: dict[str, LeaderOrder] = field(default_factory=dict[str, LeaderOrder])

    @property
    def exposure(self) -> Decimal:
        """Position plus what the counted resting entries, all on its side, would add if they filled."""
        if not self.working:
            return self.qty
        return self.qty + sum((o.signed for o in self.working.values() if o.counts), ZERO)


@dataclass(slots=True)
class Episode:
    """One stretch from flat to flat of a follower behind a leader in one product.

    The scale (`num / den` follower contracts per leader contract) is fixed when the stretch begins, so that exits
    mirror entries even when equities move meanwhile. `target` is the signed exposure the follower should have.
    """

    num: Decimal
    den: Decimal
    peak: Decimal
    target: Decimal


@dataclass(slots=True)
class Position:
    """Signed contracts and the money that went through, at one account in one contract."""

    qty: Decimal = ZERO
    #: signed cost of the open quantity (quantity x price), for the average price
    cost: Decimal = ZERO
    #: points x contracts won or lost by closed quantity; times the point value it is money
    realized_points: Decimal = ZERO

    @property
    def avg_px(self) -> Decimal | None:
        """Average price of the open quantity."""
        return self.cost / self.qty if self.qty else None

    def fill(self, side: Side, qty: Decimal, price: Decimal) -> None:
        """Take one execution."""
        signed = qty * sign(side)
        if self.qty * signed >= 0:
            self.qty += signed
            self.cost += signed * price
            return
        closing = min(qty, abs(self.qty)) * sign(side)
        average = self.cost / self.qty
        self.realized_points += -closing * (price - average)
        self.cost += closing * average
        self.qty += closing
        rest = signed - closing
        if rest:
            self.qty, self.cost = rest, rest * price
        elif not self.qty:
            self.cost = ZERO


class Counted(NamedTuple):
    """An execution that is in the positions."""

    qty: Decimal
    at: datetime


class LastEntry(NamedTuple):
    """The newest entry of one side in one contract, for the duplicate window."""

    at: datetime
    qty: Decimal
    price: Decimal | None


@dataclass(slots=True)
class Book:
    """Everything the plan may look at. Keys: account and leader are our ids, root a product, contract ESZ6."""

    seq: int = 0
    #: the hash of row `seq`, by which the next one is checked; empty before the first
    hash: bytes = field(default=b"", compare=False)
    leaders: dict[tuple[str, str], LeaderPosition] = field(
        default_factory=dict[tuple[str, str], LeaderPosition]
    )
    #: (leader, root; "" is every product) -> when its newest word on where it stands was received
    said_at: dict[tuple[str, str], datetime] = field(default_factory=dict[tuple[str, str], datetime])
    #: what each leader's sender has told
    streams: dict[str, LeaderStream] = field(default_factory=dict[str, LeaderStream])
    #: (leader, account, follower's root)
    episodes: dict[tuple[str, str, str], Episode] = field(default_factory=dict[tuple[str, str, str], Episode])
    #: (account, leader) -> contract -> what we hold there because of that leader
    holdings: dict[tuple[str, str], dict[str, Position]] = field(
        default_factory=dict[tuple[str, str], dict[str, Position]]
    )
    #: (account, contract) -> net position by executions, foreign ones included
    positions: dict[tuple[str, str], Position] = field(default_factory=dict[tuple[str, str], Position])
    orders: dict[str, ChildOrder] = field(default_factory=dict[str, ChildOrder])
    #: (account, leader) -> open children, held ones included
    open: dict[tuple[str, str], dict[str, ChildOrder]] = field(
        default_factory=dict[tuple[str, str], dict[str, ChildOrder]]
    )
    #: (account, contract) -> open entries of all leaders: what limits and doubts of the account are judged by
    entries: dict[tuple[str, str], dict[str, ChildOrder]] = field(
        default_factory=dict[tuple[str, str], dict[str, ChildOrder]]
    )
    #: orders whose outcome nobody knows, parked ones included; nearly always empty, so that asking costs nothing
    doubts: dict[str, ChildOrder] = field(default_factory=dict[str, ChildOrder])
    #: (account, broker's order id) -> our id
    by_order_id: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    #: (leader, leader's order id) -> our children that mirror it
    mirrors: dict[tuple[str, str], list[str]] = field(default_factory=dict[tuple[str, str], list[str]])
    #: list id -> our children of that signal, follow-ups included
    lists: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    #: account -> execution id -> what was counted
    exec_ids: dict[str, OrderedDict[str, Counted]] = field(
        default_factory=dict[str, OrderedDict[str, Counted]]
    )
    #: account -> time of the newest execution that was forgotten
    forgotten: dict[str, datetime] = field(default_factory=dict[str, datetime])
    order_times: dict[str, deque[datetime]] = field(default_factory=dict[str, deque[datetime]])
    last_entries: dict[tuple[str, str, Side], LastEntry] = field(
        default_factory=dict[tuple[str, str, Side], LastEntry]
    )
    switches: SwitchBoard = field(default_factory=SwitchBoard)
    #: account -> why its entries are stopped until a person has looked
    blocked: dict[str, str] = field(default_factory=dict[str, str])
    #: account -> its flatten, while one is under way or has failed; it stops entries too
    flattens: dict[str, Flattening] = field(default_factory=dict[str, Flattening])
    #: drift, repairs, and contracts whose entries are stopped
    sync: Sync = field(default_factory=Sync)
    #: account with loss limits -> what its losses are measured from
    measures: dict[str, Measure] = field(default_factory=dict[str, Measure])
    #: the same -> where it stands on the ladder
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    #: the same -> entries decided on its trading day
    trades_today: dict[str, int] = field(default_factory=dict[str, int])
    #: closes that nobody takes now and that are tried again
    pending_exits: dict[ExitKey, PendingExit] = field(default_factory=dict[ExitKey, PendingExit])
    #: what canceling and closing all of it would cost
    way_out: WayOut = field(default_factory=WayOut)
    ended: deque[str] = field(default_factory=deque[str])
    #: ids of our making that a broker has and the journal lost -> their account: never written again (R-077)
    strangers: dict[str, str] = field(default_factory=dict[str, str])

    def leader(self, leader: str, root: str) -> LeaderPosition:
        """The leader's position in a product; flat when nothing is known."""
        return self.leaders.get((leader, root)) or LeaderPosition()

    def knows_order(self, leader: str, root: str, leader_order_id: str) -> bool:
        """A leader's order that rests, or that followers copy."""
        if leader_order_id in self.leader(leader, root).working:
            return True
        return (leader, leader_order_id) in self.mirrors

    def held(self, account_id: str, leader: str) -> dict[str, Position]:
        """Contracts held by an account because of a leader."""
        return self.holdings.get((account_id, leader)) or {}

    def open_children(self, account_id: str, leader: str) -> Iterable[ChildOrder]:
        """Children of an account under a leader that are not over."""
        return (self.open.get((account_id, leader)) or {}).values()

    def children(self, account_id: str, leader: str, role: Role, contract: str) -> Iterator[ChildOrder]:
        """Open children of one role in one contract."""
        for order in self.open_children(account_id, leader):
            if order.intent.role == role and order.intent.symbol == contract:
                yield order

    def mirrored(self, leader: str, leader_order_id: str, account_id: str) -> list[ChildOrder]:
        """Open children of an account that mirror one order of the leader."""
        ids = self.mirrors.get((leader, leader_order_id), ())
        found = (self.orders.get(i) for i in ids)
        return [
            o
            for o in found
            if o is not None and o.intent.account_id == account_id and o.state not in TERMINAL
        ]

    def orders_last_minute(self, account_id: str, now: datetime) -> int:
        """Entries planned for the account in the last 60 seconds."""
        times = self.order_times.get(account_id)
        if not times:
            return 0
        # Old ones leave when the next entry comes, so that there are few of them at the left end.
        since = now - _MINUTE
        old = 0
        for at in times:
            if at > since:
                break
            old += 1
        return len(times) - old

    def add(self, order: ChildOrder) -> None:
        """Take a new child."""
        intent = order.intent
        self.orders[intent.cl_ord_id] = order
        self._opened(order)
        if order.state in DOUBTFUL:
            self.doubts[intent.cl_ord_id] = order
        self.way_out.count(order)
        self.lists.setdefault(intent.list_id, []).append(intent.cl_ord_id)
        if intent.leader_order_id is not None:
            self.mirrors.setdefault((intent.leader, intent.leader_order_id), []).append(intent.cl_ord_id)

    def _opened(self, order: ChildOrder) -> None:
        intent = order.intent
        key, name = (intent.account_id, intent.leader), intent.cl_ord_id
        children = self.open.get(key)
        if children is None:
            self.open[key] = {name: order}
        else:
            children[name] = order
        if intent.role == "entry":
            self.entries.setdefault((intent.account_id, intent.symbol), {})[name] = order

    def moved(self, order: ChildOrder, before: State) -> None:
        """Keep the indexes right after a change of state."""
        if order.state in DOUBTFUL:
            self.doubts[order.intent.cl_ord_id] = order
        elif before in DOUBTFUL:
            self.doubts.pop(order.intent.cl_ord_id, None)
        if order.state in TERMINAL or before in TERMINAL:
            self._settle(order)  # the others know open orders only: from open to open nothing moves in them
        self.way_out.count(order)

    def _settle(self, order: ChildOrder) -> None:
        if order.state not in TERMINAL:
            self._opened(order)
            return
        intent = order.intent
        self.entries.get((intent.account_id, intent.symbol), {}).pop(intent.cl_ord_id, None)
        if self.open.get((intent.account_id, intent.leader), {}).pop(intent.cl_ord_id, None) is not None:
            self.ended.append(intent.cl_ord_id)
        while len(self.ended) > ENDED_ORDERS_MAX:
            self._forget(self.ended.popleft())

    def _forget(self, cl_ord_id: str) -> None:
        order = self.orders.get(cl_ord_id)
        if order is None or order.state not in TERMINAL:
            return
        del self.orders[cl_ord_id]
        if order.order_id is not None:
            self.by_order_id.pop((order.intent.account_id, order.order_id), None)
        intent = order.intent
        _drop(self.lists, intent.list_id, cl_ord_id)
        if intent.leader_order_id is not None:
            _drop(self.mirrors, (intent.leader, intent.leader_order_id), cl_ord_id)

    def estrange(self, cl_ord_id: str, account_id: str) -> None:
        """A broker has this id of ours, and the journal lost it."""
        if len(self.strangers) < STRANGERS_MAX:
            self.strangers[cl_ord_id] = account_id

    def counted(self, account_id: str, exec_id: str) -> Counted | None:
        """What was counted under an execution id, while it is remembered."""
        seen = self.exec_ids.get(account_id)
        return None if seen is None else seen.get(exec_id)

    def has_forgotten(self, account_id: str, at: datetime) -> bool:
        """An execution of that time was counted and forgotten: brokers list a whole day at every read."""
        newest = self.forgotten.get(account_id)
        return newest is not None and at <= newest

    def is_new_execution(self, account_id: str, exec_id: str, qty: Decimal, at: datetime) -> bool:
        """Remember an execution id and its quantity; False when it was counted before (R-003)."""
        seen = self.exec_ids.get(account_id)
        if seen is None:
            # Its first key is found in constant time: in a full plain dict that takes ever longer.
            seen = self.exec_ids[account_id] = OrderedDict()
        if exec_id in seen or self.has_forgotten(account_id, at):
            return False
        seen[exec_id] = Counted(qty, at)
        if len(seen) > EXEC_IDS_MAX:
            _, oldest = seen.popitem(last=False)
            self.forgotten[account_id] = max(oldest.at, self.forgotten.get(account_id, oldest.at))
        return True

    def exposure(self, account_id: str, leader: str, contract_root: str, *, doubts: bool = False) -> Decimal:
        """Signed contracts under a leader in one product if every working entry and exit of ours filled.

        An entry that was to be canceled does not count, and one in doubt only with `doubts`: should it fill after all,
        it is closed then (R-013). So is what an exit in doubt would open; one at the market fills.
        """
        held = coming = exits = ZERO
        for contract, position in self.held(account_id, leader).items():
            if root_of(contract) == contract_root:
                held += position.qty
        for order in self.open_children(account_id, leader):
            intent = order.intent
            if order.cancel is not None or root_of(intent.symbol) != contract_root:
                continue
            if intent.role == "entry":
                coming += order.coming(doubts) * sign(intent.side)
            elif intent.role == "exit" and order.is_at_market and not order.unsent:
                coming += order.leaves_qty * sign(intent.side)
            elif intent.role == "exit" and held * sign(intent.side) < 0:
                exits += order.leaves_qty
        return (less(held, exits) if exits else held) + coming

    def went_flat(self, account_id: str) -> None:
        """The broker confirmed twice that the account holds nothing: whatever we attributed is gone."""
        for key in [k for k in self.holdings if k[0] == account_id]:
            for position in self.holdings.pop(key).values():
                self.way_out.held(*key, position.qty, ZERO)
        for key in [k for k in self.positions if k[0] == account_id]:
            del self.positions[key]
        for key in [k for k in self.episodes if k[1] == account_id]:
            # Closed by whoever asked for the flatten: no repair opens it again by itself.
            self.sync.closed_by_hand(key, self.episodes.pop(key).target)
        self.sync.went_flat(account_id)


_K = TypeVar("_K")


def _drop(index: dict[_K, list[str]], key: _K, cl_ord_id: str) -> None:
    """Take one id out; the others of its signal or leader's order may still be open."""
    ids = index.get(key)
    if ids is not None and cl_ord_id in ids:
        ids.remove(cl_ord_id)
        if not ids:
            del index[key]


def less(held: Decimal, exits: Decimal) -> Decimal:
    """What is left of a signed holding by closes of so many contracts; they never turn it."""
    return max(ZERO, held - exits) if held > 0 else min(ZERO, held + exits)


def root_of(contract: str) -> str:
    """ESZ6 -> ES: month letter and one year digit are taken from the end."""
    return contract[:-2]


def is_live(order: ChildOrder) -> bool:
    """The broker has it or may have it."""
    return order.state in LIVE
