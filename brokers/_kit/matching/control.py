"""The simulators' control commands, independent of the wire: every face mounts them under ``/_sim/``.

A command is a JSON object with ``command`` and its arguments; numbers for prices may be strings or integers
(never floats). ``set-price`` {symbol, bid, ask, last?} or {symbol, price}; ``set-settings`` {any SimSettings
field}; ``reject-next`` {count?, account_id?, text?, late?}; ``manual-order`` {account_id, symbol, side, qty,
ord_type?, price?, stop_price?, trail?, time_in_force?, children?: [..]}; ``manual-cancel`` {order_id};
``manual-replace`` {order_id, qty?, price?, stop_price?, trail?}; ``manual-close`` {account_id, symbol, qty?};
``liquidate`` {account_id, lock?}; ``lock`` {account_id, can_trade}; ``bust`` {exec_id}; ``end-session``;
``ledger`` {after_seq?}; ``positions``, ``accounts`` or ``orders`` {account_id?}; ``settings``; ``reset``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeVar, cast

from brokers._kit.matching.core import MatchingCore
from brokers._kit.matching.events import AccountState, CoreEvent, Execution, PositionState, RequestRefused
from brokers._kit.matching.orders import (
    ORD_TYPES,
    SIDES,
    TIMES_IN_FORCE,
    NewOrder,
    OrderState,
    Replacement,
)

T = TypeVar("T", bound=str)

Command = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """``body`` is ready for a JSON encoder; ``events`` are for the face to stream as usual."""

    body: object
    events: tuple[CoreEvent, ...] = ()


def apply_control(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    """Carry out one command. ValueError with a remedy for anything that is not one."""
    name = command.get("command")
    handler = _HANDLERS.get(name) if isinstance(name, str) else None
    if handler is None:
        raise ValueError(f"no command {name!r}; known: {', '.join(sorted(_HANDLERS))}")
    try:
        return handler(core, command, now_ns)
    except KeyError as missing:
        raise ValueError(f"{name}: {missing.args[0]} is missing or unknown") from missing


def jsonable(value: object) -> object:
    """Records to objects, sequences to arrays, Decimals to strings; for control answers only."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if is_dataclass(value) and not isinstance(value, type):
        return {spec.name: jsonable(getattr(value, spec.name)) for spec in fields(value)}
    if isinstance(value, NewOrder | OrderState | Execution | PositionState | AccountState):
        return {name: jsonable(item) for name, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in cast("Sequence[object]", value)]
    return value


def _done(events: list[CoreEvent]) -> ControlAnswer:
    refused = [event for event in events if isinstance(event, RequestRefused)]
    if refused:
        raise ValueError(f"{refused[0].reason}: {refused[0].text}")
    return ControlAnswer({"ok": True, "events": [_summary(event) for event in events]}, tuple(events))


def _summary(event: CoreEvent) -> object:
    return {"event": type(event).__name__, **cast("dict[str, object]", jsonable(event))}


# ---- reading arguments


def _decimal(command: Command, key: str) -> Decimal | None:
    value = command.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{key} must be a decimal string, not {type(value).__name__}")
    try:
        return Decimal(value)
    except InvalidOperation as wrong:
        raise ValueError(f"{key} must be a decimal string, not {value!r}") from wrong


def _int(command: Command, key: str) -> int:
    value = command[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} must be a whole number, not {value!r}")
    return value


def _maybe_int(command: Command, key: str) -> int | None:
    return None if command.get(key) is None else _int(command, key)


def _text(command: Command, key: str, default: str | None = None) -> str:
    value = command.get(key, default) if default is not None else command[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, not {value!r}")
    return value


def _flag(command: Command, key: str, default: bool) -> bool:
    value = command.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {value!r}")
    return value


def _word(command: Command, key: str, words: tuple[T, ...], default: T | None = None) -> T:
    value = command.get(key, default)
    for word in words:
        if value == word:
            return word
    raise ValueError(f"{key} must be one of {', '.join(words)}, not {value!r}")


def _order(command: Command, parent: NewOrder | None = None) -> NewOrder:
    return NewOrder(
        account_id=parent.account_id if parent else _int(command, "account_id"),
        symbol=parent.symbol if parent else _text(command, "symbol"),
        side=_word(command, "side", SIDES),
        ord_type=_word(command, "ord_type", ORD_TYPES, "market"),
        qty=parent.qty if parent and "qty" not in command else _int(command, "qty"),
        price=_decimal(command, "price"),
        stop_price=_decimal(command, "stop_price"),
        trail=_decimal(command, "trail"),
        offset=_decimal(command, "offset"),
        time_in_force=_word(command, "time_in_force", TIMES_IN_FORCE, "day"),
        suspended=parent is not None,
        automated=False,
        text=_text(command, "text", ""),
    )


def _children(command: Command, parent: NewOrder) -> list[NewOrder]:
    given = command.get("children", ())
    if not isinstance(given, list | tuple):
        raise ValueError("children must be an array of orders")
    children: list[NewOrder] = []
    for child in cast("Sequence[object]", given):
        if not isinstance(child, Mapping):
            raise ValueError("each child must be an object")
        children.append(_order(cast("Command", child), parent))
    return children


# ---- the commands


def _set_price(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    one = _decimal(command, "price")
    bid, ask, last = (_decimal(command, key) for key in ("bid", "ask", "last"))
    bid, ask = bid if bid is not None else one, ask if ask is not None else one
    if bid is None or ask is None:
        raise ValueError("give bid and ask, or one price for both")
    return _done(
        core.set_price(_text(command, "symbol"), bid, ask, last if last is not None else one, now_ns)
    )


def _set_settings(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    changes = {key: value for key, value in command.items() if key != "command"}
    events = core.change_settings(core.settings.with_changes(changes), now_ns)
    return ControlAnswer(jsonable(core.settings), tuple(events))


def _reject_next(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    core.reject_next(
        _maybe_int(command, "count") or 1,
        account_id=_maybe_int(command, "account_id"),
        text=_text(command, "text", ""),
        late=_flag(command, "late", False),
    )
    return ControlAnswer({"ok": True})


def _manual_order(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    order = _order(command)
    return _done(core.place(order, now_ns, _children(command, order), origin="manual"))


def _manual_cancel(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return _done(core.cancel(_int(command, "order_id"), now_ns, origin="manual"))


def _manual_replace(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    change = Replacement(
        _maybe_int(command, "qty"),
        _decimal(command, "price"),
        _decimal(command, "stop_price"),
        _decimal(command, "trail"),
    )
    return _done(core.replace(_int(command, "order_id"), change, now_ns, origin="manual"))


def _manual_close(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    account_id, symbol = _int(command, "account_id"), _text(command, "symbol")
    return _done(core.close_position(account_id, symbol, now_ns, _maybe_int(command, "qty"), origin="manual"))


def _liquidate(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return _done(core.liquidate(_int(command, "account_id"), now_ns, lock=_flag(command, "lock", True)))


def _lock(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    can_trade = _flag(command, "can_trade", False)
    return _done(core.set_account(_int(command, "account_id"), now_ns, can_trade=can_trade))


def _bust(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return _done(core.bust(_int(command, "exec_id"), now_ns))


def _end_session(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return _done(core.end_session(now_ns))


def _reset(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    core.reset()
    return ControlAnswer({"ok": True})


def _ledger(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return ControlAnswer(jsonable(core.ledger.to_rows(_maybe_int(command, "after_seq") or 0)))


def _positions(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return ControlAnswer(jsonable(core.positions(_maybe_int(command, "account_id"))))


def _orders(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return ControlAnswer(jsonable(core.orders(_maybe_int(command, "account_id"), live_only=True)))


def _accounts(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return ControlAnswer(jsonable(core.accounts()))


def _settings(core: MatchingCore, command: Command, now_ns: int) -> ControlAnswer:
    return ControlAnswer(jsonable(core.settings))


_HANDLERS: dict[str, Callable[[MatchingCore, Command, int], ControlAnswer]] = {
    "set-price": _set_price,
    "set-settings": _set_settings,
    "reject-next": _reject_next,
    "manual-order": _manual_order,
    "manual-cancel": _manual_cancel,
    "manual-replace": _manual_replace,
    "manual-close": _manual_close,
    "liquidate": _liquidate,
    "lock": _lock,
    "bust": _bust,
    "end-session": _end_session,
    "reset": _reset,
    "ledger": _ledger,
    "positions": _positions,
    "orders": _orders,
    "accounts": _accounts,
    "settings": _settings,
}
