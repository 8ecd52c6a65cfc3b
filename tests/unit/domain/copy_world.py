"""A leader, its followers and a broker that does what a test says: the domain's functions wired as the engine does."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from kopitra.domain.book import Book
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus
from kopitra.domain.fanout import AccountInputs, FanoutPlan, FollowerLeg, PlanInputs
from kopitra.domain.fold import Effect, fold
from kopitra.domain.journal import (
    Entry,
    FollowUp,
    OrderNotSent,
    OrdersSent,
    Reported,
    RequestFailed,
    SentFact,
    SignalPlanned,
)
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import TERMINAL, ZERO, ChildOrder, OrderIntent, ReplaceIntent
from kopitra.domain.plan import plan
from kopitra.domain.react import overdue, react
from kopitra.domain.signals import Signal, sign
from kopitra.domain.way_out import weight
from kopitra.store.encoding import Decoder, encode

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
TODAY = date(2026, 11, 20)
ESZ6, MESZ6 = "ESZ6", "MESZ6"
ANSWERS = frozenset({"replaced", "replace_rejected", "cancel_rejected"})


def d(value: int | str) -> Decimal:
    """A Decimal."""
    return Decimal(value)


def rule(account_id: str = "a1", /, **changes: object) -> CopyRule:
    """A rule of leader L for one account; one to one unless changed."""
    return CopyRule(f"r-{account_id}", 1, "w", "L", account_id, **changes)  # pyright: ignore[reportArgumentType]


def account(**changes: object) -> AccountInputs:
    """A live account without limits, at a broker that does not link brackets."""
    given: dict[str, object] = {
        "switch": "active",
        "session_live": True,
        "equity": d(50_000),
        "day_pnl": ZERO,
        "in_hours": True,
        "brackets": False,
        "limits": RiskLimits(max_orders_per_minute=1_000_000),
        "limits_version": 1,
    }
    return AccountInputs(**(given | changes))  # pyright: ignore[reportArgumentType]


def signal(action: str, signal_id: str = "s1", /, **changes: object) -> Signal:
    """A signal of leader L in ES, just now."""
    given: dict[str, object] = {
        "workspace": "w",
        "leader": "L",
        "signal_id": signal_id,
        "source": "ea",
        "action": action,
        "symbol": "ES",
        "occurred_at": NOW,
        "received_at": NOW,
    }
    return Signal(**(given | changes))  # pyright: ignore[reportArgumentType]


@dataclass
class World:
    """Book and journal of one shard. Every entry that is folded is also journalled."""

    rules: list[CopyRule]
    accounts: dict[str, AccountInputs] = field(default_factory=dict[str, AccountInputs])
    prices: dict[str, Decimal] = field(
        default_factory=lambda: {"ES": d(5000), "MES": d(5000), "NQ": d(18000)}
    )
    leader_equity: Decimal | None = field(default_factory=lambda: d(100_000))
    book: Book = field(default_factory=Book)
    journal: list[Entry] = field(default_factory=list[Entry])
    #: every name that was ever made: orders, cancels and replaces
    names: set[str] = field(default_factory=set[str])
    #: what is really held at the broker: (account, contract) -> signed contracts
    ledger: dict[tuple[str, str], Decimal] = field(default_factory=dict[tuple[str, str], Decimal])
    now: datetime = NOW
    #: moves that have left and are not answered
    moving: dict[str, ReplaceIntent] = field(default_factory=dict[str, ReplaceIntent])
    _signals: int = 0
    _executions: int = 0

    def __post_init__(self) -> None:
        for one in self.rules:
            self.accounts.setdefault(one.account_id, account())

    # deciding ----------------------------------------------------------------------------------------------

    def inputs(self) -> PlanInputs:
        """What the plan sees from outside the book."""
        return PlanInputs(self.now, TODAY, 1, self.leader_equity, self.prices, self.accounts)

    def say(self, action: str, /, **changes: object) -> FanoutPlan:
        """The leader acts; everything that can leave leaves."""
        self._signals += 1
        self.now += timedelta(seconds=1)
        given: dict[str, object] = {"occurred_at": self.now, "received_at": self.now}
        act = signal(action, f"s{self._signals}", **(given | changes))
        made = plan(act, self.book, self.rules, self.inputs())
        self.note(SignalPlanned(act, made))
        for leg in made.legs:
            self.named(*(i.intent.cl_ord_id for i in leg.orders), *(c.cl_ord_id for c in leg.cancels))
            self.named(*(r.cl_ord_id for r in leg.replaces))
            self.write([approved.intent for approved in leg.orders])
        return made

    def leg(self, action: str, /, **changes: object) -> FollowerLeg:
        """The first follower's leg of a new act."""
        return self.say(action, **changes).legs[0]

    def named(self, *names: str) -> None:
        """No name is ever made twice, and every broker takes it."""
        for name in names:
            assert name not in self.names, f"{name} is made twice"
            assert len(name) <= 32
            assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
            self.names.add(name)

    def note(self, entry: Entry) -> Effect:
        """A fact: folded and journalled."""
        self.journal.append(entry)
        return fold(self.book, entry)

    def write(self, intents: list[OrderIntent]) -> None:
        """The last look: closes are cut to what is held, as right before the write."""
        for intent in intents:
            if intent.after:
                continue
            qty = None
            if intent.role == "exit":
                held = self.held(intent.account_id, intent.symbol)
                qty = min(intent.qty, max(ZERO, -held * sign(intent.side)))
                if qty == 0:
                    self.not_sent(intent, "nothing_held")
                    continue
            self.note(OrdersSent(intent.list_id, (SentFact(intent.cl_ord_id, 0, 0, 0, qty=qty),)))

    def not_sent(self, intent: OrderIntent, reason: str) -> None:
        """It came to nothing before a byte left, and what follows from that."""
        self.note(OrderNotSent(intent.cl_ord_id, intent.account_id, reason))
        self.follow(react(self.book, self.book.orders[intent.cl_ord_id]))

    def lose(self, child: ChildOrder, request: Literal["cancel", "replace"] = "cancel") -> None:
        """Nobody knows what became of its cancel or move, and what follows from that."""
        intent = child.intent
        self.note(RequestFailed(intent.cl_ord_id, intent.account_id, request, "no answer in time"))
        self.follow(react(self.book, child))

    # what the broker says ----------------------------------------------------------------------------------

    def report(self, child: ChildOrder, exec_type: ExecType, status: OrdStatus, **more: object) -> Effect:
        """One report of a child, and what follows from it."""
        base = ExecutionReport(
            child.intent.account_id,
            f"b-{child.intent.cl_ord_id}",
            exec_type,
            status,
            child.intent.symbol,
            child.intent.side,
            self.now,
            cl_ord_id=child.intent.cl_ord_id,
        )
        return self.hear(base._replace(**more))

    def hear(self, report: ExecutionReport) -> Effect:
        """A report, and what follows from it."""
        effect = self.note(Reported(report))
        order = effect.order
        moved = order is not None and order.state != effect.before
        if order is not None and (effect.new_execution or moved or report.exec_type in ANSWERS):
            self.follow(react(self.book, order))
        return effect

    def follow(self, made: FollowUp) -> None:
        """Journal and write what follows."""
        if made.is_empty:
            return
        fresh = [i for i in made.released if i.cl_ord_id not in self.book.orders]
        self.named(*(i.cl_ord_id for i in fresh), *(c.cl_ord_id for c in made.cancels))
        self.named(*(r.cl_ord_id for r in made.replaces))
        self.note(made)
        self.write(list(made.released))

    def accept(self, child: ChildOrder) -> None:
        """New."""
        self.report(child, "new", "new")

    def fill(self, child: ChildOrder, qty: Decimal | None = None, price: Decimal | None = None) -> Effect:
        """One execution, of everything left unless told."""
        last = child.leaves_qty if qty is None else qty
        self._executions += 1
        key = (child.intent.account_id, child.intent.symbol)
        self.ledger[key] = self.ledger.get(key, ZERO) + last * sign(child.intent.side)
        return self.report(
            child, "trade", "partially_filled", exec_id=f"x{self._executions}", last_qty=last, last_px=price or d(5000)
        )  # fmt: skip

    def end(self, child: ChildOrder, how: ExecType = "canceled") -> None:
        """Canceled, expired or rejected."""
        self.report(child, how, how)  # pyright: ignore[reportArgumentType]

    def answer(self, child: ChildOrder) -> bool:
        """Answer the request that is under way; False when there is none."""
        if child.state in TERMINAL or child.state == "planned":
            return False
        if child.cancel is not None:
            self.end(child)
            return True
        if not self.move(child):
            return False
        wanted = self.moving.pop(child.intent.cl_ord_id)
        if wanted.qty is not None and wanted.qty <= child.cum_qty:
            self.end(child)  # made smaller than what has filled it is over
            return True
        self.report(
            child, "replaced", "new", order_qty=wanted.qty, price=wanted.price, stop_price=wanted.stop_price
        )  # fmt: skip
        return True

    def move(self, child: ChildOrder) -> bool:
        """Its newest move leaves, unless one is under way; False when there is none at all."""
        wanted, name = child.replace, child.intent.cl_ord_id
        if wanted is not None and not child.replace_sent:
            self.moving[name] = wanted
            self.note(OrdersSent("", (SentFact(wanted.cl_ord_id, 0, 0, 0, orig_cl_ord_id=name),)))
        return child.replace_sent

    def settle(self) -> None:
        """The broker answers everything and fills every market order, until nothing is left to do."""
        for _ in range(500):
            if sum(self._settle_one(child) for child in self.open()) == 0:
                return
        raise AssertionError("the world does not come to rest")

    def settle_closes(self) -> None:
        """Market closes fill; nothing else is answered."""
        while closes := [o for o in self.open() if o.intent.role == "exit" and o.intent.ord_type == "market"]:
            for close in closes:
                if close.state == "planned":
                    self.follow(overdue(self.book, close))
                else:
                    self.fill(close)

    def settle_closes_of(self, lost: ChildOrder) -> None:
        """Every market close fills but the one that nobody can find."""
        while closes := [o for o in self.open() if o.intent.role == "exit" and o is not lost]:
            for close in closes:
                self.fill(close)

    def _settle_one(self, child: ChildOrder) -> bool:
        if child.state in TERMINAL:
            return False
        if self.answer(child):
            return True
        if child.state == "planned":
            waited = [self.book.orders[i] for i in child.intent.after if i in self.book.orders]
            if child.intent.role != "exit" or any(
                o.cancel is not None and o.state not in TERMINAL for o in waited
            ):
                return False
            self.follow(overdue(self.book, child))
            return True
        if child.intent.ord_type == "market":
            self.fill(child)
            return True
        if child.state == "claimed":
            self.accept(child)
            return True
        return False

    # looking -----------------------------------------------------------------------------------------------

    def open(self) -> list[ChildOrder]:
        """All open children, oldest first."""
        return [child for child in self.book.orders.values() if child.state not in TERMINAL]

    def child(self, role: str = "entry", account_id: str = "a1") -> ChildOrder:
        """The newest child of a role."""
        found = [
            o
            for o in self.book.orders.values()
            if o.intent.role == role and o.intent.account_id == account_id
        ]
        return found[-1]

    def working(self, role: str, account_id: str = "a1") -> list[ChildOrder]:
        """Open children of one role that the broker has."""
        return [
            o
            for o in self.open()
            if o.intent.role == role and o.intent.account_id == account_id and o.state != "planned"
        ]

    def held(self, account_id: str = "a1", contract: str = ESZ6) -> Decimal:
        """What the book says an account holds because of L."""
        position = self.book.held(account_id, "L").get(contract)
        return position.qty if position is not None else ZERO

    def refolded(self) -> Book:
        """The book of the journal as it reads back from its bytes."""
        book = Book()
        for entry in self.journal:
            fold(book, Decoder(type(entry))(encode(entry)))
        return book


def assert_way_out(world: World) -> None:
    """R-060: what the fold keeps is what a walk over everything would find."""
    found: Counter[str] = Counter()
    for child in world.book.orders.values():
        found[child.intent.account_id] += weight(child)
    for (account_id, leader), held in world.book.holdings.items():
        found[account_id] += sum(1 if leader else -1 for position in held.values() if position.qty)
    kept = world.book.way_out.requests
    assert {name: count for name, count in kept.items() if count} == {n: c for n, c in found.items() if c}
