"""Order requests of one login: written at most once, each answer judged by the tables, silence told as
unknown.

Nothing here waits, retries or queues: a request leaves on a free warm connection now, or is refused as busy
and the engine, which knows the lanes and the kill switch, decides what goes next when `Writable` comes.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from random import Random
from typing import Final, Literal
from urllib.parse import urlsplit

from brokers._kit.budget import Budget, Denied, Lane, not_sent
from brokers._kit.http_request import RequestTemplate
from brokers._kit.order_http import HttpReply, Lost, OrderHttpPool, PoolSettings
from brokers._kit.order_http import NotSent as PoolRefusal
from brokers._kit.shares import Shares, links_for
from brokers._kit.tls import tls_for
from brokers.projectx.accounts import AccountDirectory
from brokers.projectx.answers import (
    HTTP_TOO_MANY,
    HTTP_UNAUTHORIZED,
    Accepted,
    Refused,
    Unsure,
    judge_place,
    judge_request,
)
from brokers.projectx.codec import PlacedBody, cancel_body, modify_body, read_placed
from brokers.projectx.settings import Settings
from brokers.projectx.symbols import ContractBook
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.wire import ORDER_TYPES, SIDES
from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus
from kopitra.ports import (
    Clock,
    Encoded,
    EventSink,
    NewNumbers,
    NotSent,
    OrderRef,
    OrderUnknown,
    ProtocolAlert,
    RequestUnknown,
    Sent,
    Writable,
)

_PLACE: Final = "/api/Order/place"
_CANCEL: Final = "/api/Order/cancel"
_MODIFY: Final = "/api/Order/modify"

_DOWN: Final = NotSent("session_down", "no order connection is open: wait until the session has reconnected")
_NO_TOKEN: Final = NotSent("session_down", "no token is held: wait until the login has been renewed")
_BUSY: Final = NotSent("busy", "every order connection waits for an answer", 0.05)
_SHARE_USED: Final = NotSent("busy", "the account's share of the order connections waits for answers", 0.05)
_UNKNOWN_ORDER: Final = NotSent(
    "unknown_order", "the broker's order id is not known yet: wait for its report"
)

Kind = Literal["cancel", "modify"]


@dataclass(frozen=True, slots=True)
class _Heads:
    """Request heads that carry one token."""

    place: RequestTemplate
    cancel: RequestTemplate
    modify: RequestTemplate


class OrderDesk:
    """The order side of one session. `on_unauthorized` hears of a 401, `on_placed` of accepted order ids."""

    def __init__(
        self,
        login_id: str,
        settings: Settings,
        *,
        parts: tuple[AccountDirectory, ContractBook, OrderTracker, Budget],
        clock: Clock,
        rng: Random,
        sink: EventSink,
        on_unauthorized: Callable[[], None],
    ) -> None:
        self._login_id = login_id
        self._settings = settings
        self._accounts, self._contracts, self._tracker, self._budget = parts
        self._clock = clock
        self._sink = sink
        self._on_unauthorized = on_unauthorized
        self._heads: _Heads | None = None
        self._host = urlsplit(settings.api_url).netloc
        self._path = urlsplit(settings.api_url).path.rstrip("/")
        self._rng = rng
        self._pool: OrderHttpPool | None = None
        self._waiting_for_link: asyncio.Task[None] | None = None
        #: client ids of placements in flight, and the bare rejection that the hub told meanwhile; bounded by
        #: the connections
        self._flights: dict[str, ExecutionReport | None] = {}
        self._links = links_for(settings.order_connections, self._accounts.count)
        self._shares = Shares(self._links, self._accounts.count)

    def _make_pool(self) -> OrderHttpPool:
        parts = urlsplit(self._settings.api_url)
        secure = parts.scheme == "https"
        return OrderHttpPool(
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            tls_for(self._settings.api_url),
            clock_ns=self._clock.monotonic_ns,
            rng=self._rng,
            # Nothing queues here: a queue would hide from the engine what is written and what is not.
            settings=PoolSettings(
                links=self._links,
                timeout_s=self._settings.order_timeout_s,
                waiting_max=0,
            ),
            on_writable=lambda: self._sink(Writable(self._login_id)),
        )

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the connections and keep them warm; returns when one of them is open."""
        pool = self._pool = self._make_pool()
        pool.start()
        await pool.ready()

    async def close(self) -> None:
        """Close every connection; what is in flight ends as unknown."""
        waiting, self._waiting_for_link = self._waiting_for_link, None
        if waiting is not None:
            waiting.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(0)

    @property
    def in_flight(self) -> int:
        """Requests whose answer is awaited."""
        return 0 if self._pool is None else self._pool.in_flight

    def use_token(self, token: str) -> None:
        """From now on requests carry this token."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        place, cancel, modify = (
            RequestTemplate(self._path + path, self._host, headers) for path in (_PLACE, _CANCEL, _MODIFY)
        )
        self._heads = _Heads(place, cancel, modify)

    def drop_token(self) -> None:
        """The firm refused the token: nothing is written until `use_token`."""
        self._heads = None

    # -- requests --------------------------------------------------------------------------------------

    def submit(self, encoded: Encoded, lane: Lane) -> Sent | NotSent:
        """Write a placement now, or say why not."""
        if self._heads is None:
            return _NO_TOKEN
        is_entry = lane is Lane.ENTRY
        if is_entry and not self._shares.has_room(encoded.account_id):
            return _SHARE_USED
        on_reply = partial(self._placed, encoded, lane, self._heads)
        sent = self._send(self._heads.place, encoded.payload, on_reply, encoded.cl_ord_id, lane)
        if isinstance(sent, Sent):
            self._flights[encoded.cl_ord_id] = None
            if is_entry:
                self._shares.take(encoded.account_id)
        return sent

    def holds(self, report: ExecutionReport) -> bool:
        """True: a bare rejection waits, for the placement's own answer, which may have the reason, is coming."""
        if report.exec_type != "rejected" or report.cl_ord_id not in self._flights:
            return False
        self._flights[report.cl_ord_id] = report
        return True

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Ask for a cancel now, or say why not."""
        account = self._accounts.ours(order.account_id)
        if account is None or not order.order_id.isdecimal():
            return _UNKNOWN_ORDER
        if self._heads is None:
            return _NO_TOKEN
        body = cancel_body(account.number, int(order.order_id))
        on_reply = partial(self._requested, "cancel", order, request_id, self._heads)
        return self._send(self._heads.cancel, body, on_reply, (request_id,), Lane.FLATTEN)

    def replace(
        self, order: OrderRef, numbers: NewNumbers, request_id: str, level: Decimal | None
    ) -> Sent | NotSent:
        """Ask for new numbers now, or say why not; `level` is the new price level of a trailing stop."""
        account = self._accounts.ours(order.account_id)
        if account is None or not order.order_id.isdecimal():
            return _UNKNOWN_ORDER
        if self._heads is None:
            return _NO_TOKEN
        body = modify_body(account.number, int(order.order_id), order, numbers, level)
        if isinstance(body, NotSent):
            return body
        on_reply = partial(self._requested, "modify", order, request_id, self._heads)
        sent = self._send(self._heads.modify, body, on_reply, (request_id,), Lane.PROTECT)
        if isinstance(sent, Sent):
            self._tracker.asked(int(order.order_id))
        return sent

    def _send(
        self,
        head: RequestTemplate,
        body: bytes,
        on_reply: Callable[[HttpReply | Lost], None],
        key: Hashable,
        lane: Lane,
    ) -> Sent | NotSent:
        now_ns = self._clock.monotonic_ns()
        pool = self._pool
        if pool is None or not (pool.has_idle or pool.open_links):
            self._tell_when_open(pool)
            return _DOWN
        # Without a free link the pool refuses and says so later; that costs the broker nothing.
        if pool.has_idle:
            taken = self._budget.try_take(lane, now_ns)
            if isinstance(taken, Denied):
                return not_sent(taken)
        refused = pool.send(head.with_body(body), on_reply, key=key)
        return _refusal(refused) if isinstance(refused, PoolRefusal) else Sent(now_ns)

    def _tell_when_open(self, pool: OrderHttpPool | None) -> None:
        if pool is not None and self._waiting_for_link is None:
            self._waiting_for_link = asyncio.get_running_loop().create_task(self._until_open(pool))

    async def _until_open(self, pool: OrderHttpPool) -> None:
        await pool.ready()
        self._waiting_for_link = None
        self._sink(Writable(self._login_id))

    # -- answers ---------------------------------------------------------------------------------------

    def _placed(self, encoded: Encoded, lane: Lane, heads: _Heads, outcome: HttpReply | Lost) -> None:
        self._judge(encoded, lane, heads, outcome)
        if lane is Lane.ENTRY and self._shares.give_back(encoded.account_id):
            self._sink(Writable(self._login_id))

    def _judge(self, encoded: Encoded, lane: Lane, heads: _Heads, outcome: HttpReply | Lost) -> None:
        rejection = self._flights.pop(encoded.cl_ord_id, None)
        if isinstance(outcome, Lost):
            self._doubt(encoded, rejection, f"no answer: {outcome.reason}", 0)
            return
        verdict = judge_place(outcome.status, outcome.body)
        match verdict:
            case Accepted(order_id):
                sent = self._report_placement(encoded, "pending_new", str(order_id), outcome.received_ns)
                for report in self._tracker.placed(
                    order_id, encoded.account_id, encoded.cl_ord_id, sent.size
                ):
                    self._sink(report)
                # The exchange's word came by the hub, before the answer that took the order.
                if rejection is not None and rejection.order_id == str(order_id):
                    self._sink(rejection)
            case Refused(reason, text):
                self._report_placement(encoded, "rejected", "", outcome.received_ns, reason, text)
            case Unsure(reason):
                self._alert(encoded.account_id, verdict)
                # With the tag in use the rejection is a second record's: the tagged order is another.
                held = None if verdict.tag_in_use else rejection
                self._doubt(encoded, held, reason, outcome.received_ns)
        self._look_at(outcome, lane, heads)

    def _report_placement(
        self,
        encoded: Encoded,
        status: Literal["pending_new", "rejected"],
        order_id: str,
        received_ns: int,
        reason: str = "",
        text: str = "",
    ) -> PlacedBody:
        sent = read_placed(encoded.payload)
        self._sink(
            ExecutionReport(
                encoded.account_id,
                order_id,
                status,
                status,
                self._contracts.symbol_of(sent.contract_id),
                SIDES[sent.side],
                self._clock.now(),
                encoded.cl_ord_id,
                ord_type=ORDER_TYPES[sent.type],
                order_qty=Decimal(sent.size),
                price=sent.limit_price,
                stop_price=sent.stop_price,
                text=text,
                ord_rej_reason=reason,
                received_ns=received_ns,
            )
        )
        return sent

    def _doubt(
        self, encoded: Encoded, rejection: ExecutionReport | None, reason: str, received_ns: int
    ) -> None:
        self._sink(OrderUnknown(encoded.account_id, encoded.cl_ord_id, reason, received_ns))
        if rejection is not None:
            self._sink(rejection)

    def _requested(
        self, kind: Kind, order: OrderRef, request_id: str, heads: _Heads, outcome: HttpReply | Lost
    ) -> None:
        if isinstance(outcome, Lost):
            reason = f"no answer: {outcome.reason}"
            self._sink(RequestUnknown(order.account_id, order.cl_ord_id, request_id, reason))
            return
        verdict = judge_request(kind, outcome.status, outcome.body)
        match verdict:
            case Accepted():
                pass  # the order's own event confirms it
            case Refused(reason, text):
                self._report_refusal(kind, order, reason, text, outcome.received_ns)
            case Unsure(reason):
                self._alert(order.account_id, verdict)
                self._sink(RequestUnknown(order.account_id, order.cl_ord_id, request_id, reason))
        self._look_at(outcome, Lane.FLATTEN if kind == "cancel" else Lane.PROTECT, heads)

    def _report_refusal(self, kind: Kind, order: OrderRef, reason: str, text: str, received_ns: int) -> None:
        exec_type: ExecType = "cancel_rejected" if kind == "cancel" else "replace_rejected"
        ord_status: OrdStatus = self._tracker.last_status(int(order.order_id))
        self._sink(
            ExecutionReport(
                account_id=order.account_id,
                order_id=order.order_id,
                exec_type=exec_type,
                ord_status=ord_status,
                symbol=order.symbol,
                side=order.side,
                transact_time=self._clock.now(),
                cl_ord_id=order.cl_ord_id,
                ord_type=order.ord_type,
                text=text,
                ord_rej_reason=reason,
                received_ns=received_ns,
            )
        )

    def _alert(self, account_id: str, verdict: Unsure) -> None:
        if verdict.alert:
            self._sink(ProtocolAlert(self._login_id, account_id, verdict.alert, verdict.payload))

    def _look_at(self, reply: HttpReply, lane: Lane, heads: _Heads) -> None:
        if reply.status == HTTP_UNAUTHORIZED:
            if heads is self._heads:  # else a late answer refuses an older token
                self._on_unauthorized()
        elif reply.status == HTTP_TOO_MANY:
            after = reply.header(b"retry-after") or b""
            wait_s = float(after) if after.isdigit() else self._settings.throttled_s
            self._budget.pause(self._clock.monotonic_ns(), wait_s, lane)


def _refusal(refused: PoolRefusal) -> NotSent:
    if refused.reason == "busy":
        return _BUSY
    if refused.reason == "duplicate-key":
        return NotSent("busy", "the same request is in flight already", 0.0)
    return _DOWN
