"""From journal entries to the rows of queries: which orders and positions an entry touched, and how they stand."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from kopitra.domain.book import Book, root_of
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import (
    AbsenceProved,
    Doubted,
    Entry,
    FlattenNoted,
    FollowUp,
    OrderNotSent,
    OrderParked,
    OrdersSent,
    RepairPlanned,
    Reported,
    RequestFailed,
    SignalPlanned,
)
from kopitra.domain.orders import ZERO, ChildOrder
from kopitra.store.drafts import JournalRow
from kopitra.store.projections import ExecutionRow, HoldingRow, OrderRow, PositionRow, Projected

#: signals whose follow-up orders are still told whose they are
SIGNALS_MAX: Final = 20_000


class _Touch(NamedTuple):
    """Where in the journal something changed last."""

    workspace: str
    at: datetime
    seq: int


class Changes:
    """Gathers what rows touched; `take` makes the rows to write from the book as it is now."""

    def __init__(self, book: Callable[[], Book], shard: str) -> None:
        self._book = book
        self._shard = shard
        self._orders: dict[str, _Touch] = {}
        self._positions: dict[tuple[str, str], _Touch] = {}
        #: (account, leader, contract)
        self._holdings: dict[tuple[str, str, str], _Touch] = {}
        self._executions: list[ExecutionRow] = []
        #: (account, contract) that the rows show as held: a confirmed flatten empties them
        self._held: dict[str, set[str]] = {}
        #: account -> (leader, contract), likewise
        self._behind: dict[str, set[tuple[str, str]]] = {}
        self._signals: OrderedDict[str, str] = OrderedDict()

    def remember(
        self,
        held: Iterable[tuple[str, str]],
        behind: Iterable[tuple[str, str, str]],
        signals: Iterable[tuple[str, str]],
    ) -> None:
        """What an earlier process wrote: (account, contract) and (account, leader, contract) held, and
        (list id, signal id).
        """
        for account_id, contract in held:
            self._held.setdefault(account_id, set()).add(contract)
        for account_id, leader, contract in behind:
            self._behind.setdefault(account_id, set()).add((leader, contract))
        self._signals.update(signals)

    def note(self, row: JournalRow, entry: Entry) -> None:
        """Take one row."""
        touch = _Touch(row.workspace, row.at, row.seq)
        for cl_ord_id in self._touched(entry):
            self._orders[cl_ord_id] = touch
        if isinstance(entry, Reported):
            self._reported(touch, entry.report)
        elif isinstance(entry, FlattenNoted) and entry.state == "flat_confirmed":
            for contract in self._held.get(entry.account_id, ()):
                self._positions[entry.account_id, contract] = touch
            for leader, contract in self._behind.pop(entry.account_id, ()):
                self._holdings[entry.account_id, leader, contract] = touch

    def _touched(self, entry: Entry) -> Iterator[str]:
        match entry:
            case SignalPlanned():
                self._signals[entry.plan.list_id] = entry.signal.signal_id
                if len(self._signals) > SIGNALS_MAX:
                    self._signals.popitem(last=False)
                for leg in entry.plan.legs:
                    yield from (a.intent.cl_ord_id for a in leg.orders)
                    yield from (c.orig_cl_ord_id for c in (*leg.cancels, *leg.replaces))
            case OrdersSent():
                yield from (fact.orig_cl_ord_id or fact.cl_ord_id for fact in entry.sent)
            case FollowUp():
                yield from (intent.cl_ord_id for intent in entry.released)
                yield from (c.orig_cl_ord_id for c in (*entry.cancels, *entry.replaces))
                yield from entry.dropped
            case RepairPlanned():
                yield from (intent.cl_ord_id for intent in entry.plan.intents)
            case OrderNotSent() | Doubted() | AbsenceProved() | OrderParked() | RequestFailed():
                yield entry.cl_ord_id
            case Reported():
                yield self._name(entry.report)
            case _:
                return

    def _name(self, report: ExecutionReport) -> str:
        if report.cl_ord_id is not None and report.cl_ord_id in self._book().orders:
            return report.cl_ord_id
        return self._book().by_order_id.get((report.account_id, report.order_id), "")

    def _reported(self, touch: _Touch, report: ExecutionReport) -> None:
        if report.exec_type != "trade" or report.last_qty is None:
            return
        self._positions[report.account_id, report.symbol] = touch
        self._held.setdefault(report.account_id, set()).add(report.symbol)
        child = self._book().orders.get(self._name(report))
        leader = child.intent.leader if child is not None else ""
        if not leader:  # somebody else's, or a flatten's: what it closed was somebody's here
            for owner, contract in self._behind.get(report.account_id, ()):
                if contract == report.symbol:
                    self._holdings[report.account_id, owner, contract] = touch
        else:
            self._holdings[report.account_id, leader, report.symbol] = touch
            self._behind.setdefault(report.account_id, set()).add((leader, report.symbol))
        if report.exec_id is None:
            return
        self._executions.append(
            ExecutionRow(
                workspace=touch.workspace,
                account_id=report.account_id,
                exec_id=report.exec_id,
                shard=self._shard,
                cl_ord_id=self._name(report),
                order_id=report.order_id,
                exec_type=report.exec_type,
                symbol=report.symbol,
                side=report.side,
                last_qty=report.last_qty,
                last_px=report.last_px if report.last_px is not None else ZERO,
                transact_time=report.transact_time,
                applied_seq=touch.seq,
            )
        )

    def take(self) -> Projected:
        """The rows to write; gathering begins anew."""
        orders = self._book().orders
        found = ((orders.get(name), touch) for name, touch in self._orders.items())
        made = Projected(
            [self._order(child, touch) for child, touch in found if child is not None],
            self._executions,
            [self._position(key, touch) for key, touch in self._positions.items()],
            [self._holding(key, touch) for key, touch in self._holdings.items()],
        )
        self._orders, self._positions, self._holdings, self._executions = {}, {}, {}, []
        return made

    def _order(self, child: ChildOrder, touch: _Touch) -> OrderRow:
        intent = child.intent
        return OrderRow(
            workspace=touch.workspace,
            cl_ord_id=intent.cl_ord_id,
            shard=self._shard,
            account_id=intent.account_id,
            leader_id=intent.leader,
            list_id=intent.list_id,
            signal_id=self._signals.get(intent.list_id, ""),
            rule_id=intent.rule_id,
            rule_version=intent.rule_version,
            order_id=child.order_id or "",
            symbol=intent.symbol,
            side=intent.side,
            ord_type=intent.ord_type,
            time_in_force=intent.time_in_force,
            qty=child.qty,
            price=child.price,
            stop_price=child.stop_price,
            ord_status=child.state,
            cum_qty=child.cum_qty,
            avg_px=child.avg_px,
            reason=child.reason,
            created_at=touch.at,
            updated_at=touch.at,
            applied_seq=touch.seq,
        )

    def _holding(self, key: tuple[str, str, str], touch: _Touch) -> HoldingRow:
        account_id, leader, contract = key
        held = self._book().held(account_id, leader).get(contract)
        qty = held.qty if held is not None else ZERO
        return HoldingRow(
            touch.workspace, account_id, leader, contract, self._shard, qty, touch.at, touch.seq
        )

    def _position(self, key: tuple[str, str], touch: _Touch) -> PositionRow:
        account_id, contract = key
        position = self._book().positions.get(key)
        value = INSTRUMENTS[root_of(contract)].point_value if root_of(contract) in INSTRUMENTS else ZERO
        return PositionRow(
            workspace=touch.workspace,
            account_id=account_id,
            symbol=contract,
            shard=self._shard,
            net_qty=position.qty if position is not None else ZERO,
            avg_px=position.avg_px if position is not None else None,
            realized_pnl=position.realized_points * value if position is not None else ZERO,
            updated_at=touch.at,
            applied_seq=touch.seq,
        )
