"""Order requests at the simulated firm, in front of the matching core (vendor docs "Place Order")."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from brokers._kit.matching import (
    CoreEvent,
    MatchingCore,
    NewOrder,
    OrderAccepted,
    OrderRejected,
    OrdType,
    Replacement,
    RequestRefused,
    Side,
    TimeInForce,
)
from brokers.tradovate.simulator.feed import Feed
from brokers.tradovate.simulator.render import quoted
from brokers.tradovate.simulator.tables import Change
from brokers.tradovate.simulator.words import reason_word

_TYPES: Final[dict[str, OrdType]] = {
    "Market": "market",
    "Limit": "limit",
    "Stop": "stop",
    "StopLimit": "stop_limit",
    "TrailingStop": "trailing_stop",
}
_SIDES: Final[dict[str, Side]] = {"Buy": "buy", "Sell": "sell"}
_TIMES: Final[dict[str, TimeInForce]] = {"Day": "day", "GTC": "gtc", "GTD": "gtc", "IOC": "ioc", "FOK": "fok"}


class _Leg(msgspec.Struct, rename="camel"):
    """RestrainedOrderVersion."""

    action: str
    order_type: str
    price: Decimal | None = None
    stop_price: Decimal | None = None
    peg_difference: Decimal | None = None
    time_in_force: str = "Day"
    expire_time: str | None = None
    cl_ord_id: str | None = None
    text: str | None = None


class _Place(_Leg, rename="camel", kw_only=True):
    symbol: str
    order_qty: int
    account_id: int | None = None
    account_spec: str | None = None
    is_automated: bool = False
    bracket1: _Leg | None = None
    bracket2: _Leg | None = None
    other: _Leg | None = None


class _Modify(msgspec.Struct, rename="camel"):
    order_id: int
    order_qty: int
    order_type: str
    price: Decimal | None = None
    stop_price: Decimal | None = None
    peg_difference: Decimal | None = None
    time_in_force: str | None = None


class _Cancel(msgspec.Struct, rename="camel"):
    order_id: int


class _Liquidate(msgspec.Struct, rename="camel"):
    account_id: int
    contract_id: int


class Done(NamedTuple):
    """An answer, and what changed in the back office."""

    status: int
    answer: str
    changes: list[Change]


class Desk:
    """The firm's order desk."""

    def __init__(self, core: MatchingCore, feed: Feed, contracts: Mapping[int, str]) -> None:
        self._core = core
        self._feed = feed
        self._contracts = contracts
        self._handlers = {
            "order/placeorder": self._place,
            "order/placeoso": self._place_oso,
            "order/placeoco": self._place_oco,
            "order/modifyorder": self._modify,
            "order/cancelorder": self._cancel,
            "order/liquidateposition": self._liquidate,
        }

    def takes(self, endpoint: str) -> bool:
        """Whether this is an order command."""
        return endpoint in self._handlers

    def handle(self, endpoint: str, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        """Carry out one command for a login that owns `accounts`."""
        try:
            return self._handlers[endpoint](body, accounts, now_ns)
        except msgspec.ValidationError as wrong:
            return _violation(str(wrong))
        except msgspec.DecodeError as wrong:
            return Done(400, quoted(f"Malformed request: {wrong}"), [])

    # -- placing ---------------------------------------------------------------------------------------

    def _place(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Place)
        return self._enter(asked, [], accounts, now_ns, ("orderId",))

    def _place_oso(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Place)
        legs = [leg for leg in (asked.bracket1, asked.bracket2) if leg is not None]
        if asked.bracket1 is None:
            return _violation("bracket1 is required")
        return self._enter(asked, legs, accounts, now_ns, ("orderId", "oso1Id", "oso2Id"))

    def _place_oco(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Place)
        if asked.other is None:
            return _violation("other is required")
        fault = self._account_fault(asked, accounts)
        if fault is not None:
            return fault
        orders = [
            self._order(asked, asked, asked.account_id or 0),
            self._order(asked, asked.other, asked.account_id or 0),
        ]
        if None in orders:
            return _refused("Unsupported", "order type or action")
        events = self._core.place_oco([order for order in orders if order is not None], now_ns)
        return self._placed(events, now_ns, ("orderId", "ocoId"))

    def _enter(
        self, asked: _Place, legs: list[_Leg], accounts: Collection[int], now_ns: int, names: tuple[str, ...]
    ) -> Done:
        fault = self._account_fault(asked, accounts)
        if fault is not None:
            return fault
        account_id = asked.account_id or 0
        order = self._order(asked, asked, account_id)
        children = [self._order(asked, leg, account_id) for leg in legs]
        if order is None or None in children:
            return _refused("Unsupported", "order type, action or time in force")
        events = self._core.place(order, now_ns, [child for child in children if child is not None])
        return self._placed(events, now_ns, names)

    def _placed(self, events: list[CoreEvent], now_ns: int, names: tuple[str, ...]) -> Done:
        first = events[0]
        if isinstance(first, OrderRejected):
            return _refused(*reason_word(first.reason, first.text))
        ids = [event.order.order_id for event in events if isinstance(event, OrderAccepted)]
        pairs = "".join(f'"{name}":{order_id},' for name, order_id in zip(names, ids, strict=False))
        return Done(
            200, f'{{{pairs}"failureReason":"Success","failureText":""}}', self._feed.changes(events, now_ns)
        )

    def _order(self, asked: _Place, leg: _Leg, account_id: int) -> NewOrder | None:
        ord_type, side, time = (
            _TYPES.get(leg.order_type),
            _SIDES.get(leg.action),
            _TIMES.get(leg.time_in_force),
        )
        if ord_type is None or side is None or time is None:
            return None
        if leg.time_in_force == "GTD" and leg.expire_time and leg.cl_ord_id:
            self._feed.note_expiry(leg.cl_ord_id, leg.expire_time)
        return NewOrder(
            account_id, asked.symbol, side, ord_type, asked.order_qty, leg.price, leg.stop_price,
            leg.peg_difference, None, time, leg.cl_ord_id, automated=asked.is_automated, text=leg.text or "",
        )  # fmt: skip

    def _account_fault(self, asked: _Place, accounts: Collection[int]) -> Done | None:
        if asked.account_id is None and asked.account_spec is None:
            return _violation("accountId or accountSpec is required")
        named = next(
            (item.account_id for item in self._core.accounts() if item.spec.name == asked.account_spec), None
        )
        asked.account_id = asked.account_id or named
        if asked.account_id not in accounts or named not in (None, asked.account_id):
            return Done(401, '"Access is denied"', [])
        return _violation("orderQty must be above 0") if asked.order_qty <= 0 else None

    # -- changing --------------------------------------------------------------------------------------

    def _modify(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Modify)
        state = self._core.order(asked.order_id)
        if state is None or state.account_id not in accounts:
            return Done(404, '"Not found"', [])
        if _TYPES.get(asked.order_type) != state.ord_type:
            return _refused("Unsupported", "the order type cannot be changed")
        moved = asked.stop_price not in (None, state.stop_price) or asked.peg_difference not in (
            None,
            state.trail,
        )
        if state.ord_type == "trailing_stop" and moved:
            return _refused("TrailingStopNonOrderQtyModify", "")
        # A full replacement: a price that is left out is gone, and an order without its price is refused.
        if (state.price is not None and asked.price is None) or (
            state.ord_type in ("stop", "stop_limit") and asked.stop_price is None
        ):
            return _refused("InvalidPrice", "price is missing")
        change = Replacement(asked.order_qty, asked.price, asked.stop_price, None)
        events = self._core.replace(asked.order_id, change, now_ns, account_id=state.account_id)
        return self._commanded("Modify", events, asked.order_id, now_ns)

    def _cancel(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Cancel)
        state = self._core.order(asked.order_id)
        if state is None or state.account_id not in accounts:
            return Done(404, '"Not found"', [])
        events = self._core.cancel(asked.order_id, now_ns, account_id=state.account_id)
        return self._commanded("Cancel", events, asked.order_id, now_ns)

    def _commanded(self, kind: str, events: list[CoreEvent], order_id: int, now_ns: int) -> Done:
        refusal = next((event for event in events if isinstance(event, RequestRefused)), None)
        if refusal is not None:
            return _refused(*reason_word(refusal.reason, refusal.text))
        state = self._core.order(order_id)
        if state is None:
            return Done(404, '"Not found"', [])
        command_id, changes = self._feed.begin(state, kind, now_ns)
        return Done(200, f'{{"commandId":{command_id}}}', changes + self._feed.changes(events, now_ns))

    def _liquidate(self, body: bytes, accounts: Collection[int], now_ns: int) -> Done:
        asked = msgspec.json.decode(body, type=_Liquidate)
        symbol = self._contracts.get(asked.contract_id)
        if asked.account_id not in accounts:
            return Done(401, '"Access is denied"', [])
        if symbol is None:
            return _refused("InvalidContract", "")
        events = self._core.close_position(asked.account_id, symbol, now_ns, cancel_working=True)
        placed = next((e.order for e in events if isinstance(e, OrderAccepted | OrderRejected)), None)
        refused = next((e for e in events if isinstance(e, RequestRefused | OrderRejected)), None)
        changes = self._feed.changes(events, now_ns)
        if refused is not None or placed is None:
            word = reason_word(refused.reason, refused.text) if refused else ("OtherExecutionRelated", "")
            return _refused(*word)._replace(changes=changes)
        return Done(200, f'{{"orderId":{placed.order_id},"failureReason":"Success"}}', changes)


def _refused(word: str, text: str) -> Done:
    return Done(200, f'{{"failureReason":{quoted(word)},"failureText":{quoted(text)}}}', [])


def _violation(text: str) -> Done:
    return Done(
        200, f'{{"violations":[{{"constraint":"Required","value":"","description":{quoted(text)}}}]}}', []
    )
