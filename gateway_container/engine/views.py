"""What people and clients may read: a signal with its legs in words, the state of the house, health."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from gateway_container.engine.recovery import decode_row
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.fanout import FollowerLeg
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import Signal
from kopitra.domain.switches import KillSwitch
from kopitra.store.drafts import JournalRow
from kopitra.store.pool import Database

Level = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class OrderView:
    """One child order. Quantities in contracts; hop times in microseconds since the signal was received."""

    cl_ord_id: str
    order_id: str | None
    leg: str
    role: str
    symbol: str
    side: str
    ord_type: str
    qty: Decimal
    cum_qty: Decimal
    avg_px: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    state: str
    reason: str
    hops_us: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LegView:
    """One follower: what was decided, why, and what became of it."""

    account_id: str
    broker: str
    outcome: str
    #: state of the leg as a whole: skipped, refused, or the state of its main order
    state: str
    reason: str
    detail: str
    rule_id: str
    rule_version: int
    notional: Decimal | None
    orders: tuple[OrderView, ...]


@dataclass(frozen=True, slots=True)
class SignalView:
    """A signal with every follower's leg."""

    signal: Signal
    sequence: int
    list_id: str
    at: datetime
    legs: tuple[LegView, ...]


@dataclass(frozen=True, slots=True)
class HealthView:
    """Readiness. `accepting`: new signals are taken; 503 only when not."""

    status: Level
    accepting: bool
    dependencies: Mapping[str, str]
    brokers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PositionView:
    """Net position of an account: by our executions and as the broker last said."""

    account_id: str
    symbol: str
    qty: Decimal
    avg_px: Decimal | None
    reported_qty: Decimal | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account now."""

    account_id: str
    title: str
    broker: str
    live: bool
    equity: Decimal | None
    day_pnl: Decimal | None
    blocked: str


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """The house at one sequence number; the stream goes on from there."""

    sequence: int
    accounts: tuple[AccountView, ...]
    positions: tuple[PositionView, ...]
    orders: tuple[OrderView, ...]
    switches: tuple[KillSwitch, ...]


_SIGNAL_ROW_SQL: Final = """
    select j.shard, j.seq, j.epoch, j.at, j.kind, j.entry, j.workspace, j.payload, j.hash
    from signal_ids s join journal j on j.shard = s.shard and j.seq = s.seq
    where s.workspace = %(workspace)s and s.signal_id = %(signal_id)s"""


class Views:
    """Read-only pictures."""

    def __init__(self, state: State, db: Database, sessions: Sessions) -> None:
        self._state = state
        self._db = db
        self._sessions = sessions

    async def signal(self, workspace: str, signal_id: str) -> SignalView | None:
        """One signal of a workspace; None when there is none (another workspace's id is none)."""
        rows = await self._db.tuples(
            JournalRow, _SIGNAL_ROW_SQL, {"workspace": workspace, "signal_id": signal_id}
        )
        if not rows:
            return None
        entry = decode_row(rows[0])
        if not isinstance(entry, SignalPlanned):
            return None
        legs = tuple(self._leg(leg, entry.plan.list_id) for leg in entry.plan.legs)
        return SignalView(entry.signal, rows[0].seq, entry.plan.list_id, rows[0].at, legs)

    def _leg(self, leg: FollowerLeg, list_id: str) -> LegView:
        book = self._state.book
        found = (book.orders.get(i) for i in book.lists.get(list_id, ()))
        children = [c for c in found if c is not None and c.intent.account_id == leg.account_id]
        account = self._state.account(leg.account_id)
        return LegView(
            leg.account_id,
            account.broker if account is not None else "",
            leg.outcome,
            _leg_state(leg, children),
            leg.reason or next((c.reason for c in children if c.state in ("skipped", "rejected")), ""),
            leg.detail,
            leg.rule_id,
            leg.rule_version,
            leg.notional,
            tuple(_order(c) for c in children),
        )

    def snapshot(self, workspace: str) -> SnapshotView:
        """Everything of one workspace, from memory."""
        state, book = self._state, self._state.book
        accounts = [a for a in state.config.accounts.values() if a.workspace == workspace]
        ids = {a.account_id for a in accounts}
        positions = tuple(
            PositionView(
                account_id, symbol, p.qty, p.avg_px, state.facts_of(account_id).positions.get(symbol)
            )
            for (account_id, symbol), p in book.positions.items()
            if account_id in ids and p.qty
        )
        orders = tuple(
            _order(child)
            for (account_id, _), children in book.open.items()
            if account_id in ids
            for child in children.values()
        )
        views = tuple(
            AccountView(
                a.account_id,
                a.title,
                a.broker,
                state.facts_of(a.account_id).live,
                state.facts_of(a.account_id).equity,
                state.facts_of(a.account_id).day_pnl,
                book.blocked.get(a.account_id, ""),
            )
            for a in accounts
        )
        visible = ("", workspace, *ids)
        switches = tuple(s for s in book.switches.all() if s.scope != "workspace" or s.scope_id in visible)
        return SnapshotView(book.seq, views, positions, orders, switches)

    def health(self, journal_available: bool, holds_lease: bool, accepting: bool) -> HealthView:
        """Readiness with dependencies."""
        by_broker: dict[str, list[str]] = {}
        for login_id, session in self._sessions.all.items():
            login = self._state.config.logins.get(login_id)
            if login is not None:
                by_broker.setdefault(login.broker, []).append(session.state)
        brokers = {
            b: "healthy" if all(s == "live" for s in states) else "degraded"
            for b, states in by_broker.items()
        }
        ready = journal_available and holds_lease and accepting
        status: Level = "unhealthy" if not ready else "healthy"
        if ready and any(level != "healthy" for level in brokers.values()):
            status = "degraded"
        return HealthView(
            status,
            ready,
            {
                "postgres": "healthy" if journal_available else "unhealthy",
                "lease": "healthy" if holds_lease else "unhealthy",
            },
            brokers,
        )


def _leg_state(leg: FollowerLeg, children: list[ChildOrder]) -> str:
    """One word for a follower: the entry's state, else the exit's, else what was decided."""
    for role in ("entry", "exit", "stop", "target"):
        for child in children:
            if child.intent.role == role:
                return child.state
    if leg.outcome == "approved":
        return "requested"
    return leg.outcome


def _order(child: ChildOrder) -> OrderView:
    intent = child.intent
    return OrderView(
        intent.cl_ord_id,
        child.order_id,
        intent.leg,
        intent.role,
        intent.symbol,
        intent.side,
        intent.ord_type,
        child.qty,
        child.cum_qty,
        child.avg_px,
        child.price,
        child.stop_price,
        child.state,
        child.reason,
        dict(child.hops),
    )
