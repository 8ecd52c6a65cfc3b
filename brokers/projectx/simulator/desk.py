"""Order requests at the simulated firm: the firm's own rules in front of the matching core, and its answer
codes.

Each command returns the answer and the core's events; the caller decides when (and whether) both travel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, cast

from brokers._kit.matching import (
    CoreEvent,
    MatchingCore,
    NewOrder,
    OrderAccepted,
    OrderRejected,
    OrdType,
    RejectReason,
    Replacement,
    RequestRefused,
    Side,
)
from brokers.projectx.simulator.contracts import Row
from brokers.projectx.simulator.render import Json, envelope

BRACKET_TICKS_MIN: Final = 4
TRAIL_TICKS_MAX: Final = 1_000
_TYPES: Final[dict[int, OrdType]] = {
    1: "limit", 2: "market", 4: "stop", 5: "trailing_stop", 6: "limit", 7: "limit",
}  # fmt: skip
_JOINS: Final = (6, 7)
_SIDES: Final[dict[int, Side]] = {0: "buy", 1: "sell"}

#: core's reason -> (errorCode, errorMessage) of Order/place; None: the core's own text
_PLACE: Final[Mapping[RejectReason, tuple[int, str | None]]] = {
    "unknown_account": (1, None),
    "unknown_symbol": (8, None),
    "account_rejected": (10, None),
    "trading_locked": (4, "Account is not allowed to trade."),
    "liquidation_only": (4, "Account may only reduce its positions."),
    "max_position": (2, "Not enough margin."),
    "halted": (2, "Trading is currently unavailable. The instrument is not in an active trading status."),
    "no_quote": (2, "Trading is currently unavailable. The instrument is not in an active trading status."),
    "wrong_side_stop": (2, "Invalid price. Price is outside allowed range."),
    "duplicate_tag": (2, "Order rejected: custom tag already in use."),
    "brackets_refused": (2, "Brackets cannot be used with Position Brackets"),
}
_CANCEL: Final[Mapping[RejectReason, int]] = {"unknown_order": 2, "unknown_account": 1, "too_late": 3}
_CLOSE: Final[Mapping[RejectReason, int]] = {
    "unknown_account": 1, "position_not_found": 2, "unknown_symbol": 3, "halted": 5, "account_rejected": 8,
}  # fmt: skip
_PARTIAL_CLOSE: Final[Mapping[RejectReason, int]] = {
    **_CLOSE,
    "invalid_close_size": 5,
    "halted": 6,
    "account_rejected": 9,
}


class BadBody(ValueError):
    """The body is not what the endpoint takes: HTTP 400, as model binding does it."""


@dataclass(frozen=True, slots=True)
class Done:
    """An answer and what happened in the core."""

    answer: Json
    events: tuple[CoreEvent, ...] = ()


class Refused(Exception):
    """Order/place says no before the core is asked."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason: RejectReason = reason
        self.text = text


def integer(body: Mapping[str, object], key: str, *, optional: bool = False) -> int:
    """A whole number of the body; 0 when optional and absent."""
    value = body.get(key)
    if value is None and optional:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadBody(f"The {key} field is required and takes a whole number.")
    return value


def decimal(body: Mapping[str, object], key: str) -> Decimal | None:
    """A price of the body, None when it is null or absent."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise BadBody(f"The {key} field takes a number.")
    try:
        return Decimal(value)
    except InvalidOperation:
        raise BadBody(f"The {key} field takes a number.") from None


def text(body: Mapping[str, object], key: str) -> str:
    """A required text of the body."""
    value = body.get(key)
    if not isinstance(value, str):
        raise BadBody(f"The {key} field is required.")
    return value


class Desk:
    """The firm's order desk in front of one matching core."""

    def __init__(self, core: MatchingCore, by_id: Mapping[str, Row]) -> None:
        self._core = core
        self._by_id = by_id

    # -- place -----------------------------------------------------------------------------------------

    def place(self, body: Mapping[str, object], now_ns: int) -> Done:
        """`Order/place`. Refusals carry the id of the rejected record, and its tag stays used."""
        account_id, size = integer(body, "accountId"), integer(body, "size")
        side = _SIDES.get(integer(body, "side"))
        kind = integer(body, "type")
        if side is None:
            raise BadBody("The side field takes 0 or 1.")
        tag = body.get("customTag")
        row = self._by_id.get(text(body, "contractId"))
        if self._core.account(account_id) is None:
            return Done(envelope(1, None, orderId=None))
        if row is None:
            return Done(envelope(8, None, orderId=None))
        bare = NewOrder(
            account_id,
            row.name,
            side,
            _TYPES.get(kind, "stop_limit"),
            size,
            cl_ord_id=tag if isinstance(tag, str) else None,
        )
        try:
            order = self._priced(bare, kind, body, row)
            children = self._children(order, body, row)
        except Refused as refused:
            return self._answer_place(self._core.refuse(bare, refused.reason, refused.text, now_ns))
        return self._answer_place(self._core.place(order, now_ns, children))

    def _answer_place(self, events: list[CoreEvent]) -> Done:
        # The answer waits for the exchange's word, so a rejection after the acceptance is in it too.
        refused = next((event for event in events if isinstance(event, OrderRejected)), None)
        first = refused or events[0]
        if isinstance(first, OrderRejected):
            code, message = _PLACE.get(first.reason, (2, None))
            shown = message or first.text or None
            return Done(
                envelope(code, shown if code in (2, 4) else None, orderId=first.order.order_id), tuple(events)
            )
        order_id = first.order.order_id if isinstance(first, OrderAccepted) else None
        return Done(envelope(orderId=order_id), tuple(events))

    def _priced(self, bare: NewOrder, kind: int, body: Mapping[str, object], row: Row) -> NewOrder:
        if kind not in _TYPES:
            raise Refused("other", "Invalid order type.")
        limit, stop, level = (decimal(body, key) for key in ("limitPrice", "stopPrice", "trailPrice"))
        tick_size = Decimal(row.product.tick_size)
        _aligned("limit", limit, tick_size)
        _aligned("stop", stop, tick_size)
        ord_type = bare.ord_type
        if kind in _JOINS:
            limit = self._touch(row, bid=kind == _JOINS[0])
        if ord_type == "limit" and limit is None:
            raise Refused("bad_price", "Invalid price. Limit price is required.")
        if ord_type == "stop" and stop is None:
            raise Refused("bad_price", "Invalid price. Stop price is required.")
        trail = self._distance(row, bare.side, level, tick_size) if ord_type == "trailing_stop" else None
        return bare._replace(
            price=limit if ord_type == "limit" else None,
            stop_price=stop if ord_type == "stop" else None,
            trail=trail,
        )

    def _touch(self, row: Row, *, bid: bool) -> Decimal | None:
        quote = self._core.quote(row.name)
        return None if quote is None else quote.bid if bid else quote.ask

    def _distance(self, row: Row, side: Side, level: Decimal | None, tick_size: Decimal) -> Decimal:
        """The server turns the level into a distance from its own last price, truncated to ticks."""
        quote = self._core.quote(row.name)
        if level is None or quote is None:
            raise Refused("bad_price", "Invalid price. Trail price is required.")
        ticks = int((quote.last - level if side == "sell" else level - quote.last) / tick_size)
        if not 0 < ticks <= TRAIL_TICKS_MAX:
            raise Refused("bad_price", "Invalid price. Price is outside allowed range.")
        return ticks * tick_size

    def _children(self, order: NewOrder, body: Mapping[str, object], row: Row) -> list[NewOrder]:
        legs: list[NewOrder] = []
        for key, name, sign, kinds in (
            ("stopLossBracket", "stop loss", -1, (4, 5)),
            ("takeProfitBracket", "take profit", 1, (1,)),
        ):
            bracket = body.get(key)
            if bracket is None:
                continue
            if not isinstance(bracket, dict):
                raise BadBody(f"The {key} field takes an object.")
            fields = cast("dict[str, object]", bracket)
            legs.append(self._child(order, fields, (name, sign, kinds), row))
        if legs and self._is_position_mode(order.account_id):
            raise Refused("brackets_refused", "Brackets cannot be used with Position Brackets")
        return legs

    def _is_position_mode(self, account_id: int) -> bool:
        state = self._core.account(account_id)
        return state is not None and state.spec.position_brackets

    def _child(
        self, order: NewOrder, bracket: Mapping[str, object], rule: tuple[str, int, tuple[int, ...]], row: Row
    ) -> NewOrder:
        name, sign, kinds = rule
        ticks, kind = integer(bracket, "ticks"), integer(bracket, "type")
        longing = order.side == "buy"
        wanted = sign if longing else -sign
        if ticks * wanted <= 0:
            direction = "less" if wanted < 0 else "greater"
            trade = "longing" if longing else "shorting"
            raise Refused(
                "other",
                f"Invalid {name} ticks ({ticks}). Ticks should be {direction} than zero when {trade}.",
            )
        if abs(ticks) < BRACKET_TICKS_MIN:
            raise Refused(
                "other",
                f"Invalid {name} ticks ({ticks}). Price should be at least {BRACKET_TICKS_MIN} ticks away.",
            )
        if kind not in kinds:
            named = {1: "Limit", 2: "Market", 4: "Stop", 5: "TrailingStop"}.get(kind, str(kind))
            raise Refused("other", f"Invalid {name} type ({named})")
        suffix = "-SL" if name == "stop loss" else "-TP"
        return NewOrder(
            order.account_id,
            order.symbol,
            "sell" if longing else "buy",
            _TYPES[kind],
            order.qty,
            offset=ticks * Decimal(row.product.tick_size),
            time_in_force="day",
            cl_ord_id=order.cl_ord_id + suffix if order.cl_ord_id else None,
            suspended=True,
        )

    # -- cancel, modify, close -----------------------------------------------------------------------------

    def cancel(self, body: Mapping[str, object], now_ns: int) -> Done:
        """`Order/cancel`."""
        account_id, order_id = integer(body, "accountId"), integer(body, "orderId")
        barred = self._barred(account_id)
        if barred is not None:
            return barred
        return _answer(self._core.cancel(order_id, now_ns, account_id=account_id), _CANCEL)

    def modify(self, body: Mapping[str, object], now_ns: int) -> Done:
        """`Order/modify`: absolute numbers, at least one of them."""
        account_id, order_id = integer(body, "accountId"), integer(body, "orderId")
        barred = self._barred(account_id)
        if barred is not None:
            return barred
        size = integer(body, "size", optional=True) or None
        limit, stop, level = (decimal(body, key) for key in ("limitPrice", "stopPrice", "trailPrice"))
        if size is None and limit is None and stop is None and level is None:
            return Done(envelope(3, "Nothing to modify."))
        state = self._core.order(order_id)
        if state is None:
            return Done(envelope(2))
        row = next(row for row in self._by_id.values() if row.name == state.symbol)
        tick_size = Decimal(row.product.tick_size)
        try:
            _aligned("limit", limit, tick_size)
            _aligned("stop", stop, tick_size)
            trail = self._new_distance(row, state.side, level, tick_size) if level is not None else None
        except Refused as refused:
            return Done(envelope(3, refused.text))
        change = Replacement(size, limit, stop, trail)
        return _answer(self._core.replace(order_id, change, now_ns, account_id=account_id), _CANCEL)

    def _new_distance(self, row: Row, side: Side, level: Decimal, tick_size: Decimal) -> Decimal:
        quote = self._core.quote(row.name)
        if quote is None:
            raise Refused("no_quote", "Trading is currently unavailable.")
        ticks = int((quote.last - level if side == "sell" else level - quote.last) / tick_size)
        if ticks <= 0:
            raise Refused("bad_price", "Invalid price. Price is outside allowed range.")
        return ticks * tick_size

    def close(self, body: Mapping[str, object], now_ns: int, *, partly: bool) -> Done:
        """`Position/closeContract` and `partialCloseContract`: a market order, working orders stay."""
        account_id = integer(body, "accountId")
        row = self._by_id.get(text(body, "contractId"))
        size = integer(body, "size") if partly else None
        barred = self._barred(account_id, code=9 if partly else 8)
        if barred is not None:
            return barred
        if row is None:
            return Done(envelope(3))
        events = self._core.close_position(account_id, row.name, now_ns, size)
        codes, other = (_PARTIAL_CLOSE, 6) if partly else (_CLOSE, 5)
        first = events[0]
        if isinstance(first, OrderRejected):
            return Done(envelope(codes.get(first.reason, other), first.text), tuple(events))
        return _answer(events, codes)

    def _barred(self, account_id: int, code: int = 6) -> Done | None:
        state = self._core.account(account_id)
        if state is None:
            return Done(envelope(1))
        return Done(envelope(code)) if state.spec.live_funded or state.spec.copy_follower else None


def _answer(events: list[CoreEvent], codes: Mapping[RejectReason, int]) -> Done:
    first = events[0]
    if isinstance(first, RequestRefused):
        return Done(envelope(codes.get(first.reason, 3), first.text))
    return Done(envelope(), tuple(events))


def _aligned(name: str, price: Decimal | None, tick_size: Decimal) -> None:
    if price is not None and price % tick_size:
        raise Refused("off_tick", f"Invalid {name} price. Price is not aligned to tick size.")
