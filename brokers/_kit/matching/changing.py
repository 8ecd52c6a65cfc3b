"""Requests on what exists already: cancel, replace, close, bust. Each is a row in the ledger."""

from brokers._kit.matching.checks import Refusal, replacement_refusal
from brokers._kit.matching.engine import Engine, Out
from brokers._kit.matching.events import (
    BalanceChanged,
    CancelCause,
    CoreEvent,
    ExecutionBusted,
    OrderReplaced,
    PositionChanged,
    RequestKind,
    RequestRefused,
)
from brokers._kit.matching.orders import LiveOrder, NewOrder, Origin, Replacement


def _find(engine: Engine, order_id: int, account_id: int | None) -> tuple[LiveOrder | None, Refusal | None]:
    live = engine.orders.get(order_id)
    if live is None or (account_id is not None and live.request.account_id != account_id):
        return None, Refusal("unknown_order", f"order {order_id} not found")
    if not live.is_live:
        return live, Refusal("too_late", f"order {order_id} is {live.status}")
    return live, None


def _refused(
    kind: RequestKind, account_id: int | None, live: LiveOrder | None, refusal: Refusal
) -> list[CoreEvent]:
    account_id = live.request.account_id if live else account_id
    state = live.snapshot() if live else None
    return [RequestRefused(kind, account_id, state, refusal.reason, refusal.text)]


def cancel(
    engine: Engine, order_id: int, now_ns: int, account_id: int | None, origin: Origin
) -> list[CoreEvent]:
    """Cancel one order."""
    live, refusal = _find(engine, order_id, account_id)
    engine.ledger.requested(
        "cancel",
        now_ns,
        refusal.reason if refusal else None,
        origin,
        account_id=live.request.account_id if live else account_id,
        symbol=live.request.symbol if live else None,
        order_id=order_id,
    )
    if refusal is not None or live is None:
        return _refused("cancel", account_id, live, refusal or Refusal("unknown_order", ""))
    out: Out = []
    engine.cancel(live, "request", now_ns, out)
    return out


def replace(
    engine: Engine,
    order_id: int,
    change: Replacement,
    now_ns: int,
    account_id: int | None,
    origin: Origin,
    wrong_side_refused: bool,
) -> list[CoreEvent]:
    """Change quantity or prices of one order; its place in the queue is new."""
    live, refusal = _find(engine, order_id, account_id)
    if live is not None and refusal is None:
        symbol = live.request.symbol
        instrument, quote = engine.instruments[symbol], engine.quotes.get(symbol)
        refusal = replacement_refusal(live, change, instrument, quote, wrong_side_refused)
    engine.ledger.requested(
        "replace",
        now_ns,
        refusal.reason if refusal else None,
        origin,
        account_id=live.request.account_id if live else account_id,
        symbol=live.request.symbol if live else None,
        order_id=order_id,
        qty=change.qty,
        price=change.price,
        stop_price=change.stop_price,
    )
    if refusal is not None or live is None:
        return _refused("replace", account_id, live, refusal or Refusal("unknown_order", ""))
    _apply(live, change, now_ns)
    out: Out = [OrderReplaced(live.snapshot(), "request")]
    engine.match(live, now_ns, out)
    return out


def _apply(live: LiveOrder, change: Replacement, now_ns: int) -> None:
    if change.qty is not None:
        fully_released = live.released_qty == live.qty
        live.released_qty = change.qty if fully_released else min(live.released_qty, change.qty)
        live.qty = change.qty
    live.price = change.price if change.price is not None else live.price
    live.stop_price = change.stop_price if change.stop_price is not None else live.stop_price
    live.trail = change.trail if change.trail is not None else live.trail
    live.rested = False
    live.version += 1
    live.updated_ns = now_ns


def cancel_all(
    engine: Engine, account_id: int, symbol: str | None, cause: CancelCause, now_ns: int, out: Out
) -> None:
    """Cancel the live orders of an account, in one symbol or in all."""
    for live in list(engine.orders_by_account.get(account_id, ())):
        if live.is_live and (symbol is None or live.request.symbol == symbol):
            engine.cancel(live, cause, now_ns, out)


def closing_order(
    engine: Engine, account_id: int, symbol: str, qty: int | None, now_ns: int, origin: Origin, out: Out
) -> NewOrder | None:
    """The market order that closes a position, or None with a RequestRefused in ``out``."""
    account = engine.books.accounts.get(account_id)
    net_qty = account.net_qty(symbol) if account else 0
    refusal = None
    if account is None:
        refusal = Refusal("unknown_account", f"account {account_id} not found")
    elif not net_qty:
        refusal = Refusal("position_not_found", f"no position in {symbol}")
    elif qty is not None and not 0 < qty <= abs(net_qty):
        refusal = Refusal("invalid_close_size", f"the position is {abs(net_qty)}")
    engine.ledger.requested(
        "close",
        now_ns,
        refusal.reason if refusal else None,
        origin,
        account_id=account_id,
        symbol=symbol,
        qty=qty,
    )
    if refusal is not None:
        out += _refused("close", account_id, None, refusal)
        return None
    side = "sell" if net_qty > 0 else "buy"
    return NewOrder(account_id, symbol, side, "market", qty or abs(net_qty))


def bust(engine: Engine, exec_id: int, now_ns: int) -> list[CoreEvent]:
    """Take one execution back; order quantities stay, the trade and its money go."""
    fills = engine.ledger.executions()
    fill = next((item for item in fills if item.exec_id == exec_id), None)
    if fill is None:
        raise KeyError(f"execution {exec_id} not found or busted already")
    busted = fill._replace(busted=True, ts_ns=now_ns)
    engine.ledger.executed(busted)
    account = engine.books.accounts[fill.account_id]
    account.fees -= fill.fees + fill.commission
    standing = [item for item in engine.ledger.executions(fill.account_id) if item.symbol == fill.symbol]
    position = engine.books.refold(account, engine.instruments[fill.symbol], standing, now_ns)
    return [
        ExecutionBusted(engine.orders[fill.order_id].snapshot(), busted),
        PositionChanged(position.snapshot()),
        BalanceChanged(account.snapshot()),
    ]
