"""A session at a rude broker: it keeps the port's contract to the letter, whatever the broker does.

`submit` is synchronous and writes at most once; a placement without an authoritative answer within 2.5 s is unknown;
what was under way when the line fell is unknown. The supervisor is the kit's own, as in every adapter.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Final

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.matching.orders import NewOrder, Replacement
from brokers._kit.runner import RunnerPolicy, SessionPlan, SessionRunner
from kopitra.domain.errors import Disconnected, Throttled
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.orders import OrderIntent
from kopitra.ports import (
    Clock,
    Encoded,
    EventSink,
    Forecast,
    LoginPlan,
    NewNumbers,
    NotSent,
    OrderRef,
    OrderUnknown,
    Penalized,
    ReadLane,
    RequestUnknown,
    Sent,
    SessionState,
    Writable,
)
from tests.faults.rude_broker import Event, Line, RudeBroker
from tests.faults.rude_bytes import ORD_TYPES, TIMES_IN_FORCE, decoded, encoded
from tests.faults.rude_manners import ANSWER_WAIT_S
from tests.faults.rude_words import Answer, Change, Place, Read, ns_of, our_word, report_of
from tests.faults.virtual_loop import Process

#: seconds that a read may take
READ_WAIT_S: Final = 3.0
#: seconds between two requests for a new line
_RECONNECT: Final = BackoffPolicy(first_s=0.25, max_s=5.0)
_DOWN: Final = NotSent("session_down", "the session is not live")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the process, and the epoch of its lease."""

    process: Process
    #: of the engine that opened the session; told by whoever hears the sink
    epoch: Callable[[EventSink], int]


class RudeSession:
    """See `kopitra.ports.BrokerSession`; towards the broker it is an `Ear`."""

    def __init__(
        self, broker: RudeBroker, login: LoginPlan, sink: EventSink, clock: Clock, writer: Writer
    ) -> None:
        self.login_id = login.login_id
        self.process = writer.process
        self._broker, self._sink, self._clock = broker, sink, clock
        self._epoch = writer.epoch(sink)
        self._accounts = [link.account_id for link in login.accounts]
        self._line: Line | None = None
        self._gone: asyncio.Future[str] | None = None
        #: requests without an answer, and when they are given up
        self._waiting: dict[str, tuple[Place | Change, asyncio.TimerHandle]] = {}
        #: reads under way
        self._reads: dict[int, asyncio.Future[AccountSnapshot | None]] = {}
        self._read_number = 0
        #: events that came before the account was read; None while they go straight on
        self._early: list[Event] | None = None
        self._penalty_ns = 0
        self._busy = False
        self._sent_ns: list[int] = []
        self._kept: Callable[[], int] = lambda: 0
        plan = SessionPlan(
            connect=self._connect,
            login=self._log_in,
            subscribe=self._subscribe,
            reconcile=self._reconcile,
            live=self._live,
            release=self._release,
            settled=lambda: not self._waiting,
        )
        self._runner = SessionRunner(
            login.login_id,
            plan,
            sink,
            clock_ns=clock.monotonic_ns,
            rng=Random(f"{broker.rng.random()} {login.login_id}"),
            policy=RunnerPolicy(reconnect=_RECONNECT, stable_s=2.0),
        )

    @property
    def state(self) -> SessionState:
        return self._runner.state

    async def run(self) -> None:
        await self._runner.run()

    async def close(self, *, drain_s: float) -> None:
        await self._runner.close(drain_s=drain_s)

    def watch(self, symbols: Sequence[str]) -> None:
        """No quotes here."""

    # the steps of a life ------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await asyncio.sleep(self._broker.delay_s())
        if self._broker.down:
            raise Disconnected("connection refused")
        self._gone = asyncio.get_running_loop().create_future()
        self._line = self._broker.connect(self)

    async def _log_in(self) -> None:
        await asyncio.sleep(self._broker.delay_s())
        self._check_line()
        if self._broker.lucky(self._broker.manners.penalty, "throttled login", self.login_id):
            raise Throttled("too many logins", retry_after_s=1.0)

    async def _subscribe(self) -> None:
        await asyncio.sleep(self._broker.delay_s())
        self._early = []
        self._check_line().streams = True

    async def _reconcile(self) -> None:
        for account_id in self._accounts:
            self._sink(await self._read(account_id, 0))
        early, self._early = self._early or [], None
        for event in early:
            self._sink(event)

    async def _live(self) -> None:
        if self._gone is None:
            raise Disconnected("no line")
        raise Disconnected(await asyncio.shield(self._gone))

    async def _release(self) -> None:
        if self._line is not None:
            self._broker.disconnect(self._line)
            self._line = None
        self._early = None
        for future in self._reads.values():
            if not future.done():
                future.set_result(None)
        for key in list(self._waiting):
            self._give_up(key, "the connection ended before an answer came")

    def _check_line(self) -> Line:
        if self._line is None or not self._line.open or (self._gone is not None and self._gone.done()):
            raise Disconnected("the line is gone")
        return self._line

    # orders -------------------------------------------------------------------------------------------------

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        if attached and not self._broker.capabilities.brackets:
            return NotSent("not_supported", "no brackets here")
        if intent.ord_type not in ORD_TYPES or intent.time_in_force not in TIMES_IN_FORCE:
            return NotSent("not_supported", f"no {intent.ord_type} {intent.time_in_force} here")
        if intent.account_id not in self._accounts:
            return _DOWN
        return encoded(intent, attached, self._broker.accounts[intent.account_id])

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        refusal = self._refusal(lane_exit, self._runner.takes_placements)
        if refusal is not None:
            return refusal
        body = decoded(encoded)
        request = Place(
            encoded.cl_ord_id,
            encoded.account_id,
            body.order,
            body.children,
            body.is_exit,
            self._epoch,
            self.process.name,
        )
        return self._write(encoded.cl_ord_id, request)

    def forecast(self) -> Forecast:
        manners, now_ns = self._broker.manners, self._clock.monotonic_ns()
        if not manners.budget:
            return Forecast(10_000, 10_000, 10_000, 10.0)
        used = sum(1 for ns in self._sent_ns if ns > now_ns - 10_000_000_000)
        limit, kept = manners.budget - manners.budget // 4, self._kept()
        paused_s = max(0.0, (self._penalty_ns - now_ns) / 1e9)
        share, free = max(0, limit - used), manners.budget - used - kept
        return Forecast(share, share, limit, 10.0, paused_s, free, kept)

    def keep(self, kept: Callable[[], int]) -> None:
        self._kept = kept

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        return self._request(order, request_id, None, self._runner.takes_cancels)

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> Sent | NotSent:
        qty = int(numbers.qty) if numbers.qty is not None else None
        change = Replacement(qty, numbers.price, numbers.stop_price, numbers.trail_offset)
        return self._request(order, request_id, change, self._runner.takes_placements)

    def _request(
        self, order: OrderRef, request_id: str, numbers: Replacement | None, takes: bool
    ) -> Sent | NotSent:
        refusal = self._refusal(True, takes)
        if refusal is not None:
            return refusal
        if not order.order_id.isdigit():
            return NotSent("unknown_order", "no such order here")
        request = Change(
            order.cl_ord_id,
            order.account_id,
            int(order.order_id),
            request_id,
            numbers,
            self._epoch,
            self.process.name,
        )
        return self._write(f"{order.cl_ord_id} {request_id}", request)

    def _refusal(self, is_exit: bool, takes: bool) -> NotSent | None:
        manners, now_ns = self._broker.manners, self._clock.monotonic_ns()
        if not takes or self._line is None:
            return _DOWN
        if now_ns < self._penalty_ns and not is_exit:
            return NotSent("penalty", "the broker wants silence", (self._penalty_ns - now_ns) / 1e9)
        if manners.in_flight_max and len(self._waiting) >= manners.in_flight_max:
            self._busy = True
            return NotSent("busy", "every connection waits for an answer", 0.05)
        if manners.budget:
            self._sent_ns = [ns for ns in self._sent_ns if ns > now_ns - 10_000_000_000]
            reserve = 0 if is_exit else max(manners.budget // 4, self._kept())
            if len(self._sent_ns) >= manners.budget - reserve:
                wait_s = (self._sent_ns[0] + 10_000_000_000 - now_ns) / 1e9 if self._sent_ns else 1.0
                return NotSent("rate_budget", "the budget is used up", wait_s)
        return None

    def _write(self, key: str, request: Place | Change) -> Sent:
        now_ns = self._clock.monotonic_ns()
        self._sent_ns.append(now_ns)
        timer = asyncio.get_running_loop().call_later(ANSWER_WAIT_S, self._give_up, key, "no answer in time")
        self._waiting[key] = (request, timer)
        if self._line is not None:
            self._broker.receive(self._line, request)
        return Sent(now_ns)

    # answers ------------------------------------------------------------------------------------------------

    def _settle(self, key: str) -> bool:
        """The request is no longer waited for; False when it was not."""
        found = self._waiting.pop(key, None)
        if found is None:
            return False
        found[1].cancel()
        if self._busy:
            self._busy = False
            asyncio.get_running_loop().call_soon(self._sink, Writable(self.login_id))
        return True

    def _give_up(self, key: str, reason: str) -> None:
        found = self._waiting.get(key)
        if found is None:
            return
        self._settle(key)
        request = found[0]
        if isinstance(request, Place):
            for name in request.names:
                now_ns = self._clock.monotonic_ns()
                self._sink(OrderUnknown(request.account_id, name, reason, now_ns))
        else:
            self._sink(RequestUnknown(request.account_id, request.cl_ord_id, request.request_id, reason))

    def answered(self, answer: Answer) -> None:
        request = answer.request
        if isinstance(request, Place):
            self._placement(request, answer)
        elif isinstance(request, Change):
            self._changed(request, answer)

    def _placement(self, request: Place, answer: Answer) -> None:
        if answer.outcome in ("unclear", "unavailable"):
            self._give_up(request.cl_ord_id, f"the server answered {answer.text}")
            return
        self._settle(request.cl_ord_id)
        if answer.outcome == "penalty":
            self._penalty_ns = self._clock.monotonic_ns() + int(float(answer.text) * 1e9)
            self._sink(Penalized(self.login_id, float(answer.text), "too many requests"))
            for order in (request.order, *request.children):
                self._sink(self._refused(request, order, "too many requests", "rate-limited"))
            return
        kind = "rejected" if answer.outcome == "rejected" else "pending_new"
        for order in answer.orders:
            report = report_of(order, request.account_id, kind, answer.text)
            word = "market-closed" if "trading status" in answer.text else ""
            self._sink(report._replace(ord_rej_reason=word, received_ns=self._clock.monotonic_ns()))

    def _refused(self, request: Place, order: NewOrder, text: str, reason: str) -> ExecutionReport:
        """The broker never made an order of it, so it has no id there."""
        return ExecutionReport(
            account_id=request.account_id,
            order_id="",
            exec_type="rejected",
            ord_status="rejected",
            symbol=order.symbol,
            side=order.side,
            transact_time=self._broker.clock.now(),
            cl_ord_id=order.cl_ord_id,
            order_qty=Decimal(order.qty),
            text=text,
            ord_rej_reason=our_word(reason),
            received_ns=self._clock.monotonic_ns(),
        )

    def _changed(self, request: Change, answer: Answer) -> None:
        key = f"{request.cl_ord_id} {request.request_id}"
        if answer.outcome in ("unclear", "unavailable"):
            self._give_up(key, f"the server answered {answer.text}")
            return
        self._settle(key)
        if answer.outcome == "done":
            return  # the stream tells what became of it
        kind = "cancel_rejected" if request.numbers is None else "replace_rejected"
        if answer.orders:
            self._sink(report_of(answer.orders[0], request.account_id, kind, answer.text))
        else:
            self._sink(RequestUnknown(request.account_id, request.cl_ord_id, request.request_id, answer.text))

    def heard(self, event: Event) -> None:
        if isinstance(event, ExecutionReport):
            event = event._replace(received_ns=self._clock.monotonic_ns())
            if event.cl_ord_id is not None and self._knows(event.cl_ord_id):
                self._settle(event.cl_ord_id)
        if self._early is not None:
            self._early.append(event)
        else:
            self._sink(event)

    def _knows(self, cl_ord_id: str) -> bool:
        """The stream spoke first: half of the adapters then stop waiting for the answer."""
        return cl_ord_id in self._waiting and self._broker.displaces

    def lost(self, reason: str) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(reason)

    # reads --------------------------------------------------------------------------------------------------

    async def snapshot(
        self, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        if account_id not in self._accounts:
            raise KeyError(account_id)
        if self.state not in ("live", "draining"):
            raise Disconnected("the session is not live")
        if lane != "flatten" and self._clock.monotonic_ns() < self._penalty_ns:
            wait_s = (self._penalty_ns - self._clock.monotonic_ns()) / 1e9
            raise Throttled("the broker wants silence", retry_after_s=wait_s)
        return await self._read(account_id, ns_of(since) if since is not None else 0)

    async def _read(self, account_id: str, since_ns: int) -> AccountSnapshot:
        started_ns = self._clock.monotonic_ns()
        line = self._check_line()
        self._read_number += 1
        number = self._read_number
        future = self._reads[number] = asyncio.get_running_loop().create_future()
        self._broker.receive(line, Read(account_id, since_ns, number))
        try:
            async with asyncio.timeout(READ_WAIT_S):
                found = await future
        finally:
            with suppress(KeyError):
                del self._reads[number]
        if found is None:
            raise Disconnected("the read failed")
        return replace(found, started_ns=started_ns)

    def read(self, request: Read, found: AccountSnapshot | None) -> None:
        future = self._reads.get(request.number)
        if future is not None and not future.done():
            future.set_result(found)
