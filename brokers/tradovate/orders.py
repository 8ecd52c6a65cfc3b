"""Order requests on the socket: written once, answered once or in doubt.

What is written here is never written again, whatever happens. An answer is a report when it proves something;
any other end (silence, a drop, 401, 423, 429, 5xx, a penalty ticket, an ambiguous reason) leaves the order in
doubt.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from brokers._kit.budget import Budget, Denied, Lane, not_sent
from brokers.tradovate import codec, frames
from brokers.tradovate.answers import Accepted, Ambiguous, Penalty, Refused, Verdict, classify
from brokers.tradovate.join import Joiner
from brokers.tradovate.link import Link
from brokers.tradovate.penalties import Penalties
from brokers.tradovate.tracks import SIDES
from kopitra.domain.executions import ExecutionReport, OrdStatus
from kopitra.domain.signals import OrdType
from kopitra.ports import (
    Encoded,
    NotSent,
    OrderRef,
    OrderUnknown,
    ProtocolAlert,
    RequestUnknown,
    Sent,
    SessionEvent,
)

#: requests without a proven end that are remembered; a late answer of a forgotten one changes nothing
PENDING_MAX: Final = 4_096
#: a late answer may still come for so long, seconds
_LATE_MAX_S: Final = 60.0
_BUSY_S: Final = 0.05
_NS: Final = 1_000_000_000
_ORD_TYPES: Final[dict[str, OrdType]] = {word: ours for ours, word in codec.ORDER_TYPES.items()}

PLACE: Final = b"order/placeorder"
PLACE_OSO: Final = b"order/placeoso"
LIQUIDATE: Final = b"order/liquidateposition"
#: placements name the account's spec first, a native close does not have one
_ENDPOINT: Final = {b'{"accountS': PLACE, b'{"accountI': LIQUIDATE}

Kind = Literal["place", "close", "cancel", "replace"]


@dataclass(slots=True)
class _Pending:
    kind: Kind
    lane: Lane
    endpoint: bytes
    account_id: str
    cl_ord_id: str
    payload: bytes
    due_ns: int = 0
    attached: tuple[str, ...] = ()
    #: requests as the vendor counts them
    cost: int = 1
    request_id: str = ""
    order: OrderRef | None = None
    #: its doubt was told; a late answer can still settle it
    told: bool = False


@dataclass(frozen=True, slots=True)
class Doors:
    """What the desk asks before a write, and whom it tells."""

    takes_placements: Callable[[], bool]
    takes_cancels: Callable[[], bool]
    sink: Callable[[SessionEvent], None]
    now: Callable[[], datetime]
    clock_ns: Callable[[], int]
    #: an order was answered 401: the token of the future must be another one
    token_refused: Callable[[], None]
    #: the vendor asked for silence: an answer's status or a penalty, and the request's lane; seconds of silence
    throttled: Callable[[Penalty | int, Lane], float]
    busy: Callable[[], None]


class OrderDesk:
    """All order requests of one login, over all lives of its socket."""

    def __init__(self, login_id: str, joiner: Joiner, budget: Budget, doors: Doors, timeout_s: float) -> None:
        self._login_id = login_id
        self._joiner = joiner
        self._budget = budget
        self._doors = doors
        self._timeout_ns = int(timeout_s * _NS)
        self._link: Link | None = None
        self._pending: dict[int, _Pending] = {}
        self._penalties = Penalties()
        self._timer: asyncio.TimerHandle | None = None

    def use(self, link: Link | None) -> None:
        """The socket of the present life."""
        self._link = link

    @property
    def settled(self) -> bool:
        """Nothing waits for its answer."""
        return all(pending.told for pending in self._pending.values())

    # -- writing -----------------------------------------------------------------------------------------

    def submit(self, encoded: Encoded, *, lane_exit: bool) -> Sent | NotSent:
        """Write a placement now."""
        if not self._doors.takes_placements():
            return NotSent("session_down", "The session is not live.")
        payload = encoded.payload
        endpoint = PLACE_OSO if encoded.attached else _ENDPOINT[payload[:10]]
        kind: Kind = "close" if endpoint is LIQUIDATE else "place"
        # Exits go on while a penalty holds entries back, until one of them is refused itself.
        lane = Lane.FLATTEN if lane_exit else Lane.ENTRY
        pending = _Pending(kind, lane, endpoint, encoded.account_id, encoded.cl_ord_id, payload)
        pending.attached, pending.cost = encoded.attached, encoded.requests
        sent = self._write(pending)
        if kind == "close" and isinstance(sent, Sent):
            self._hold(payload, 1)
        return sent

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Ask for a cancel."""
        body = codec.encode_cancel(order.order_id)
        return self._change(b"order/cancelorder", "cancel", body, order, request_id, Lane.FLATTEN)

    def replace(self, order: OrderRef, body: str | NotSent, request_id: str) -> Sent | NotSent:
        """Ask for new numbers; `body` is the full replacement."""
        return self._change(b"order/modifyorder", "replace", body, order, request_id, Lane.PROTECT)

    def _change(
        self, endpoint: bytes, kind: Kind, body: str | NotSent, order: OrderRef, request_id: str, lane: Lane
    ) -> Sent | NotSent:
        if isinstance(body, NotSent):
            return body
        if not self._doors.takes_cancels():
            return NotSent("session_down", "The session is not live.")
        pending = _Pending(kind, lane, endpoint, order.account_id, order.cl_ord_id, body.encode())
        pending.request_id, pending.order = request_id, order
        return self._write(pending)

    def _write(self, pending: _Pending) -> Sent | NotSent:
        link = self._link
        now_ns = self._doors.clock_ns()
        if link is None or not link.is_open:
            return NotSent("session_down", "The socket is closed.")
        wait_s = self._penalties.wait_s(pending.endpoint, now_ns)
        if wait_s > 0:
            return NotSent("penalty", "The vendor's penalty ticket tells this request to wait.", wait_s)
        granted = self._budget.try_take(pending.lane, now_ns, pending.cost)
        if isinstance(granted, Denied):
            return not_sent(granted)
        number = link.next_id()
        body = self._penalties.body(pending.endpoint, pending.payload)
        if not link.send(b"%b\n%d\n\n%b" % (pending.endpoint, number, body)):
            self._doors.busy()
            return NotSent("busy", "The socket does not drain.", _BUSY_S)
        self._penalties.written(pending.endpoint, pending.payload)
        pending.due_ns = now_ns + self._timeout_ns
        self._pending[number] = pending
        if len(self._pending) > PENDING_MAX:
            self._forget(next(iter(self._pending)))
        if self._timer is None:
            self._arm(self._timeout_ns)
        return Sent(now_ns)

    def _hold(self, payload: bytes, step: int) -> None:
        # A native close's order names no client id: until the answer came it must not pass as a stranger's.
        body = codec.decode_placed(payload)
        key = (body.account_id, body.contract_id)
        left = self._joiner.closing.get(key, 0) + step
        if left > 0:
            self._joiner.closing[key] = left
        else:
            self._joiner.closing.pop(key, None)

    # -- answers -----------------------------------------------------------------------------------------

    def on_answer(self, item: frames.Item, now_ns: int) -> None:
        """The answer to one of our requests; others are nobody's and say nothing."""
        pending = self._pending.pop(item.i, None) if item.i is not None else None
        if pending is None:
            return
        verdict = classify(item.s, item.d)
        if not isinstance(verdict, Accepted):
            self._notice(pending, item.s, verdict, now_ns)
        if pending.kind == "close":
            self._closed(pending, verdict, now_ns)
        elif pending.kind == "place":
            self._placed(pending, verdict, now_ns)
        else:
            self._changed(pending, verdict, now_ns)

    def _notice(self, pending: _Pending, status: int, verdict: Verdict, now_ns: int) -> None:
        if isinstance(verdict, Penalty):
            until_ns = now_ns + int(self._doors.throttled(verdict, pending.lane) * _NS)
            again = pending.kind != "place"
            self._penalties.given(pending.endpoint, pending.payload, verdict, until_ns, again=again)
        elif status in (423, 429):
            self._doors.throttled(status, pending.lane)
        elif status == 401:
            self._doors.token_refused()

    def _placed(self, pending: _Pending, verdict: Verdict, now_ns: int) -> None:
        ids = (pending.cl_ord_id, *pending.attached)
        match verdict:
            case Accepted(order_ids, _):
                self._own(pending, order_ids, now_ns)
                for cl_ord_id in ids[len(order_ids) :]:
                    self._doubt(pending, "the answer names fewer orders than were sent", (cl_ord_id,))
            case Refused(code, text):
                body = codec.decode_placed(pending.payload)
                legs = (body, body.bracket1, body.bracket2)
                for cl_ord_id, leg in zip(ids, legs, strict=False):
                    self._doors.sink(
                        self._rejected(pending.account_id, cl_ord_id, leg or body, body, code, text, now_ns)
                    )
            case Penalty(_, _, _, text):
                self._doubt(pending, f"penalty: {text}", ids)
            case Ambiguous(text, parsed):
                if not parsed:
                    self._alert(pending, text)
                self._doubt(pending, text, ids)

    def _closed(self, pending: _Pending, verdict: Verdict, now_ns: int) -> None:
        if not pending.told:
            self._hold(pending.payload, -1)
        if isinstance(verdict, Accepted) and verdict.ids:
            self._joiner.identify(verdict.ids[0], pending.cl_ord_id, now_ns)
        elif isinstance(verdict, Refused):
            body = codec.decode_placed(pending.payload)
            self._doors.sink(
                self._rejected(
                    pending.account_id, pending.cl_ord_id, body, body, verdict.code, verdict.text, now_ns
                )
            )
        else:
            self._doubt(pending, getattr(verdict, "text", "no order in the answer"), (pending.cl_ord_id,))
        self._joiner.recheck(now_ns)

    def _own(self, pending: _Pending, order_ids: tuple[int, ...], now_ns: int) -> None:
        body = codec.decode_placed(pending.payload)
        if order_ids and not pending.attached:  # nearly always
            version = body.version(0, order_ids[0], body.order_qty)
            self._joiner.own(
                order_ids[0],
                pending.account_id,
                body.symbol,
                SIDES[body.action],
                pending.cl_ord_id,
                version,
                None,
                now_ns,
            )
            return
        legs = (body, body.bracket1, body.bracket2)
        ids = (pending.cl_ord_id, *pending.attached)
        for number, (order_id, cl_ord_id, leg) in enumerate(zip(order_ids, ids, legs, strict=False)):
            part = leg or body
            version = part.version(0, order_id, body.order_qty)
            parent = order_ids[0] if number else None
            self._joiner.own(
                order_id,
                pending.account_id,
                body.symbol,
                SIDES[part.action],
                cl_ord_id,
                version,
                parent,
                now_ns,
            )

    def _rejected(
        self, account_id: str, cl_ord_id: str, leg: codec.PlacedBody, body: codec.PlacedBody,
        code: str, text: str, now_ns: int,
    ) -> ExecutionReport:  # fmt: skip
        return ExecutionReport(
            account_id=account_id,
            order_id="",
            exec_type="rejected",
            ord_status="rejected",
            symbol=body.symbol or self._joiner.contract_name(body.contract_id),
            side=SIDES.get(leg.action, "buy"),
            transact_time=self._doors.now(),
            cl_ord_id=cl_ord_id,
            ord_type=_ORD_TYPES.get(leg.order_type),
            order_qty=Decimal(body.order_qty),
            price=leg.price,
            stop_price=leg.stop_price,
            text=text,
            ord_rej_reason=code,
            received_ns=now_ns,
        )

    def _changed(self, pending: _Pending, verdict: Verdict, now_ns: int) -> None:
        order = pending.order
        match verdict:
            case Accepted():
                pass  # the stream tells what became of it
            case Refused(code, text) if order is not None:
                exec_type = "cancel_rejected" if pending.kind == "cancel" else "replace_rejected"
                status: OrdStatus = self._joiner.status_of(order.order_id) or "new"
                self._doors.sink(
                    ExecutionReport(
                        order.account_id,
                        order.order_id,
                        exec_type,
                        status,
                        order.symbol,
                        order.side,
                        self._doors.now(),
                        order.cl_ord_id,
                        text=text,
                        ord_rej_reason=code,
                        received_ns=now_ns,
                    )
                )
            case Refused(_, text) | Penalty(_, _, _, text):
                self._request_doubt(pending, text)
            case Ambiguous(text, parsed):
                if not parsed:
                    self._alert(pending, text)
                self._request_doubt(pending, text)

    # -- doubt -------------------------------------------------------------------------------------------

    def lose_all(self, reason: str) -> None:
        """The socket is gone: whatever was not answered never will be."""
        pending, self._pending = list(self._pending.values()), {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for one in pending:
            self._tell_doubt(one, reason)

    def _tell_doubt(self, pending: _Pending, reason: str) -> None:
        if pending.told:
            return
        if pending.kind in ("cancel", "replace"):
            self._request_doubt(pending, reason)
            return
        if pending.kind == "close":
            self._hold(pending.payload, -1)
            self._joiner.recheck(self._doors.clock_ns())
        self._doubt(pending, reason, (pending.cl_ord_id, *pending.attached))

    def _doubt(self, pending: _Pending, reason: str, cl_ord_ids: tuple[str, ...]) -> None:
        if pending.told:
            return
        now_ns = self._doors.clock_ns()
        for cl_ord_id in cl_ord_ids:
            self._doors.sink(OrderUnknown(pending.account_id, cl_ord_id, reason, now_ns))

    def _request_doubt(self, pending: _Pending, reason: str) -> None:
        if not pending.told:
            unknown = RequestUnknown(pending.account_id, pending.cl_ord_id, pending.request_id, reason)
            self._doors.sink(unknown)

    def _alert(self, pending: _Pending, text: str) -> None:
        self._doors.sink(ProtocolAlert(self._login_id, pending.account_id, f"order answer: {text}"))

    def _forget(self, number: int) -> None:
        pending = self._pending.pop(number)
        self._tell_doubt(pending, "too many requests wait for an answer")

    # -- deadlines ---------------------------------------------------------------------------------------

    def _arm(self, wait_ns: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0, wait_ns) / _NS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_ns = self._doors.clock_ns()
        late_ns = now_ns - int(_LATE_MAX_S * _NS)
        for number, pending in list(self._pending.items()):
            if pending.due_ns <= late_ns:
                del self._pending[number]
            elif pending.due_ns <= now_ns and not pending.told:
                self._tell_doubt(pending, "no answer in time")
                pending.told = True
        waiting = [pending.due_ns for pending in self._pending.values() if not pending.told]
        if waiting:
            self._arm(min(waiting) - now_ns)
        elif self._pending:
            self._arm(int(_LATE_MAX_S * _NS))
