"""The door for placements: ids, refusals (by rule, planned or drawn), acceptance, brackets and OCO groups."""

from collections.abc import Sequence
from dataclasses import dataclass

from brokers._kit.matching.checks import BrokerView, Refusal, refusal_of
from brokers._kit.matching.engine import Engine, Out
from brokers._kit.matching.events import CoreEvent, OrderAccepted, OrderRejected
from brokers._kit.matching.orders import LiveOrder, NewOrder, Origin, RejectReason, open_order
from brokers._kit.matching.settings import FaultDice

FIRST_ORDER_ID = 2**32 + 1_000_000_001  #: ids do not fit 32 bits, as at the real brokers
FIRST_EXEC_ID = 2**32 + 5_000_000_001
REJECT_NEXT_MAX = 10_000  #: refusals that may be queued up


@dataclass(frozen=True, slots=True)
class CoreRules:
    """Where brokers differ. ``unique_tags``: a client id works once per account, rejected orders included."""

    unique_tags: bool = False
    wrong_side_stops_refused: bool = True
    first_order_id: int = FIRST_ORDER_ID
    first_exec_id: int = FIRST_EXEC_ID


@dataclass(slots=True)
class _PlannedRefusal:
    count: int
    account_id: int | None
    refusal: Refusal
    late: bool


class Placing:
    """Takes placement requests in for one engine."""

    def __init__(self, engine: Engine, rules: CoreRules, dice: FaultDice) -> None:
        self._engine = engine
        self._rules = rules
        self._dice = dice
        self._next_order_id = rules.first_order_id
        self._planned: list[_PlannedRefusal] = []

    def place(
        self, order: NewOrder, now_ns: int, children: Sequence[NewOrder] = (), *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Place an order, with ``children`` as its bracket: suspended until it fills, two or more as OCO.

        Ids are consecutive, parent first. A refusal of one refuses all. The first events are always one
        OrderAccepted or OrderRejected per order, in that order.
        """
        parent = self._open(order, now_ns, origin, order.parent_id)
        legs = [
            self._open(child._replace(suspended=True), now_ns, "bracket", parent.order_id)
            for child in children
        ]
        self._group(legs)
        parent.children.extend(legs)
        return self._enter([parent], legs, now_ns)

    def place_oco(
        self, orders: Sequence[NewOrder], now_ns: int, *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Place working orders of which only one is meant to fill; both are known before either can trade."""
        legs = [self._open(order, now_ns, origin, order.parent_id) for order in orders]
        self._group(legs)
        return self._enter(legs, [], now_ns)

    def refuse(
        self, order: NewOrder, reason: RejectReason, text: str, now_ns: int, *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Record a placement that the wire face refuses by a rule of its own broker."""
        out: Out = []
        self._reject(self._open(order, now_ns, origin, order.parent_id), Refusal(reason, text), now_ns, out)
        return out

    def reject_next(
        self, count: int = 1, *, account_id: int | None = None, text: str = "", late: bool = False
    ) -> None:
        """Refuse the next ``count`` placements of one account or any; ``late``: accept first, then reject."""
        queued = sum(plan.count for plan in self._planned)
        if count < 1 or queued + count > REJECT_NEXT_MAX:
            raise ValueError(f"count must be 1 or more, and at most {REJECT_NEXT_MAX} may wait")
        refusal = Refusal("injected", text or self._engine.settings.reject_text)
        self._planned.append(_PlannedRefusal(count, account_id, refusal, late))

    def _open(self, order: NewOrder, now_ns: int, origin: Origin, parent_id: int | None) -> LiveOrder:
        live = open_order(order, self._next_order_id, origin, now_ns, parent_id)
        self._next_order_id += 1
        self._engine.orders[live.order_id] = live
        self._engine.orders_by_account.setdefault(order.account_id, []).append(live)
        if live.oco_group is not None:
            self._engine.groups.setdefault(live.oco_group, []).append(live)
        return live

    def _group(self, legs: Sequence[LiveOrder]) -> None:
        if len(legs) < 2 or any(leg.oco_group is not None for leg in legs):
            return
        for leg in legs:
            leg.oco_group = legs[0].order_id
        self._engine.groups[legs[0].order_id] = list(legs)

    def _enter(self, roots: list[LiveOrder], legs: list[LiveOrder], now_ns: int) -> list[CoreEvent]:
        out: Out = []
        refusal, late = self._decide(roots, legs)
        if refusal is not None and not late:
            for live in (*roots, *legs):
                self._reject(live, refusal, now_ns, out)
                refusal = Refusal("parent_rejected", refusal.text) if legs else refusal
            return out
        for live in (*roots, *legs):
            self._accept(live, refusal, now_ns, out)
        for live in roots:
            if refusal is not None:
                self._reject_accepted(live, refusal, now_ns, out)
            elif live.request.suspended:
                self._attach(live, now_ns, out)
            else:
                self._engine.begin(live, now_ns, out)
        return out

    def _decide(self, roots: list[LiveOrder], legs: list[LiveOrder]) -> tuple[Refusal | None, bool]:
        for live in (*roots, *legs):
            refusal = self._refusal(live, bool(legs))
            if refusal is not None:
                return refusal, False
        if self._rules.unique_tags and _has_twins([live.request.cl_ord_id for live in (*roots, *legs)]):
            return Refusal("duplicate_tag", "custom tag already in use"), False
        planned = self._take_planned(roots[0].request.account_id)
        if planned is not None:
            return planned.refusal, planned.late
        if self._dice.hits(self._engine.settings.reject_ratio):
            return Refusal("injected", self._engine.settings.reject_text), self._engine.settings.reject_late
        return None, False

    def _refusal(self, live: LiveOrder, has_children: bool) -> Refusal | None:
        order, engine = live.request, self._engine
        view = BrokerView(
            engine.books.accounts.get(order.account_id),
            engine.instruments.get(order.symbol),
            engine.quotes.get(order.symbol),
            order.symbol in engine.settings.halted_symbols,
            self._rules.unique_tags,
            self._rules.wrong_side_stops_refused,
        )
        if live.origin == "liquidation":
            return None
        if order.parent_id is not None and live.origin != "bracket":
            parent = engine.orders.get(order.parent_id)
            if parent is None or not (parent.is_live or parent.cum_qty):
                return Refusal("parent_rejected", f"parent order {order.parent_id} is not there to protect")
        elif order.suspended and live.origin != "bracket":
            return Refusal("parent_rejected", "a suspended order needs a parent_id")
        return refusal_of(order, view, has_children)

    def _take_planned(self, account_id: int) -> _PlannedRefusal | None:
        for plan in self._planned:
            if plan.account_id is None or plan.account_id == account_id:
                plan.count -= 1
                if not plan.count:
                    self._planned.remove(plan)
                return plan
        return None

    def _note(self, live: LiveOrder, reason: RejectReason | None, now_ns: int) -> None:
        request = live.request
        self._engine.ledger.placed(request, live.order_id, now_ns, reason, live.origin)
        account = self._engine.books.accounts.get(request.account_id)
        if account is not None and request.cl_ord_id is not None:
            account.tags.add(request.cl_ord_id)

    def _accept(self, live: LiveOrder, late_refusal: Refusal | None, now_ns: int, out: Out) -> None:
        self._note(live, late_refusal.reason if late_refusal else None, now_ns)
        if live.request.suspended:
            live.status = "suspended"
        out.append(OrderAccepted(live.snapshot()))

    def _reject(self, live: LiveOrder, refusal: Refusal, now_ns: int, out: Out) -> None:
        self._note(live, refusal.reason, now_ns)
        live.status, live.updated_ns = "rejected", now_ns
        out.append(OrderRejected(live.snapshot(), refusal.reason, refusal.text))

    def _reject_accepted(self, live: LiveOrder, refusal: Refusal, now_ns: int, out: Out) -> None:
        for order in (live, *live.children):
            order.status, order.updated_ns = "rejected", now_ns
            out.append(OrderRejected(order.snapshot(), refusal.reason, refusal.text, late=True))

    def _attach(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        parent = self._engine.orders.get(live.parent_id) if live.parent_id is not None else None
        if parent is None:
            return
        parent.children.append(live)
        if parent.cum_qty:
            self._engine.release(live, parent, now_ns, out)


def _has_twins(tags: Sequence[str | None]) -> bool:
    given = [tag for tag in tags if tag is not None]
    return len(given) != len(set(given))
