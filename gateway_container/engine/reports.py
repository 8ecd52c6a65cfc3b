"""What brokers say: each event becomes a fact in the book and the journal, and what follows from it is decided.

Called by the sessions on the event loop, in the order of the wire. Never raises: an event that does not fit stops
the entries of its own account and raises an alert; other accounts do not notice.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.state import State
from kopitra.domain.errors import QueueFull, StoreError
from kopitra.domain.executions import (
    AccountSnapshot,
    BalanceReport,
    ExecutionReport,
    PositionReport,
    Quote,
)
from kopitra.domain.fold import Effect
from kopitra.domain.journal import (
    AlertRaised,
    Doubted,
    FollowUp,
    OrderNotSent,
    Reported,
    RequestFailed,
    SessionNoted,
)
from kopitra.domain.orders import ChildOrder, OrderIntent
from kopitra.domain.react import overdue, react, waiting_closes
from kopitra.ports import (
    BrokerTime,
    LoginNotice,
    OrderUnknown,
    Penalized,
    ProtocolAlert,
    RequestUnknown,
    SessionChanged,
    SessionEvent,
    Writable,
)
from kopitra.store.drafts import Committed

#: seconds that a close waits for the cancels before it (R-038)
CLOSE_WAIT_S: Final = 1.0
#: children whose follow-up waits for the journal
UNFOLLOWED_MAX: Final = 10_000
#: seconds between looks whether the journal takes decisions again
RETRY_S: Final = 0.25
#: nothing is missing: we took it back ourselves, or nothing was left to close
_EXPECTED: Final = frozenset({"canceled_before_send", "nothing_held", "withdrawn"})
#: this process ends: its successor goes on from the journal
_ENDING: Final = frozenset({"stopping", "lease_lost"})
#: reports that tell of a request's fate without moving the order
_ANSWERS: Final = frozenset({"replaced", "replace_rejected", "cancel_rejected"})
#: the broker answered a cancel or move
_REQUEST_ANSWERED: Final = _ANSWERS | {"canceled"}

#: (child, report): for the hop times
OnReport = Callable[[ChildOrder, ExecutionReport], None]


def _unheard(_snapshot: AccountSnapshot) -> None:
    """Before the circle is closed nobody reads snapshots."""


def _unnoticed(_notice: LoginNotice) -> None:
    """Nor notices."""


class Reports:
    """The sink of all sessions."""

    def __init__(self, state: State, log: Log, fanout: Fanout, on_report: OnReport) -> None:
        self._state = state
        self._log = log
        self._fanout = fanout
        self._on_report = on_report
        self._breakers = fanout.look.breakers
        self._breakers.attach(self.alert)
        fanout.attach(self.not_sent)
        self._leaders: LeaderFeed | None = None
        self._on_snapshot: Callable[[AccountSnapshot], None] = _unheard
        self._lookup: Callable[[str], None] | None = None
        self._on_session: Callable[[SessionChanged], None] | None = None
        self._markets = fanout.look.markets
        #: True: the refused order is tried again from there
        self.on_refused: Callable[[ChildOrder, ExecutionReport], bool] = lambda _order, _report: False
        #: who hears of penalties and of brokers' clocks
        self.on_notice: Callable[[LoginNotice], None] = _unnoticed
        #: who hears of executions of no order of ours
        self.on_foreign: Callable[[ExecutionReport], None] = lambda _report: None
        #: reports that did not fit, counted for the metrics
        self.faults: dict[str, int] = {}
        self._closes: dict[str, asyncio.TimerHandle] = {}
        #: children whose follow-up is not durable yet
        self._unfollowed: dict[str, None] = {}
        self._again: asyncio.TimerHandle | None = None

    def attach(
        self,
        leaders: LeaderFeed,
        on_snapshot: Callable[[AccountSnapshot], None],
        lookup: Callable[[str], None],
        on_session: Callable[[SessionChanged], None],
    ) -> None:
        """Leaders need the intake and the intake needs the fan-out: the composition root closes the circle."""
        self._leaders = leaders
        self._on_snapshot = on_snapshot
        self._lookup = lookup
        self._on_session = on_session

    def handle(self, event: SessionEvent) -> None:
        """One event."""
        match event:
            case ExecutionReport():
                self._report(event)
            case BalanceReport() | PositionReport() | Quote():
                self._evidence(event)
            case AccountSnapshot():
                self._on_snapshot(event)
            case OrderUnknown():
                self._unknown(event)
            case RequestUnknown():
                self._request_unknown(event)
            case SessionChanged():
                self._session(event)
            case ProtocolAlert():
                self.alert("broker-protocol", f"{event.text} {event.payload}".strip(), event.account_id or "")
            case Writable():
                self._fanout.drain(self._accounts_of(event.login_id))
            case Penalized() | BrokerTime():
                self.on_notice(event)
            case _:
                assert_never(event)

    def _evidence(self, event: BalanceReport | PositionReport | Quote) -> None:
        """Money, positions and prices as somebody else sees them: remembered, never folded."""
        match event:
            case BalanceReport():
                self._state.facts_of(event.account_id).balance = event
            case PositionReport():
                self._state.facts_of(event.account_id).positions[event.symbol] = event.net_qty
            case Quote():
                self._state.quoted(event)
                price = event.last if event.last is not None else event.bid
                if price is not None:
                    self._state.price_seen(event.symbol, price)

    def leader_read(self, snapshot: AccountSnapshot) -> None:
        """A leader's account was read."""
        if self._leaders is not None:
            self._leaders.look(snapshot)

    # orders ------------------------------------------------------------------------------------------------

    def _report(self, report: ExecutionReport) -> None:
        self.after(report, self._log.note(self._state.workspace_of(report.account_id), Reported(report)))

    def after(self, report: ExecutionReport, effect: Effect) -> None:
        """What follows from a report that is in the book."""
        if self._leaders is not None:
            self._leaders.observe(report)
        if effect.new_execution:
            self._executed(report, foreign=effect.order is None)
        if effect.fault or effect.before == "not_placed":
            self._surprised(report, effect)
        order = effect.order
        if order is None:
            return
        self._on_report(order, report)
        intent, state = order.intent, order.state
        if effect.before == "claimed" or report.exec_type in _REQUEST_ANSWERED:
            self._breakers.answered(intent.account_id, intent.cl_ord_id)
        if state == "rejected" and effect.before != "rejected":
            self._rejected(order, report)
        # The closes of a flatten belong to no leader: their own loop judges them, by what the broker holds.
        if intent.leader and (state != effect.before or effect.new_execution or report.exec_type in _ANSWERS):
            follow = react(self._state.book, order)
            if not follow.is_empty:
                self.follow(follow, report.received_ns)
        if order.cancel is not None or order.replace is not None:
            self._fanout.requests.send(order)

    def _executed(self, report: ExecutionReport, *, foreign: bool) -> None:
        self._state.executed(report)
        position = self._state.book.positions.get((report.account_id, report.symbol))
        if position is not None and position.qty == 0:
            self._fanout.brake.went_flat(report.account_id)
        if self._markets.closed and (account := self._state.account(report.account_id)) is not None:
            self._markets.traded(account.broker, report.symbol)
        if foreign:
            self.on_foreign(report)

    def _rejected(self, order: ChildOrder, report: ExecutionReport) -> None:
        if self.on_refused(order, report):
            return  # an exit that nobody takes now: it is tried again, and people were told
        if order.intent.reduce_only and order.intent.leader:
            self._protection_missing(order.intent, "the broker rejected it", report.text)

    def _surprised(self, report: ExecutionReport, effect: Effect) -> None:
        """A report that its order's state does not allow (R-001), or of an order that was proved absent."""
        name = report.cl_ord_id or ""
        if effect.fault:
            self.faults["report"] = self.faults.get("report", 0) + 1
            self.alert("illegal-transition", effect.fault, report.account_id, name)
        elif effect.order is not None and effect.order.state != "not_placed":
            self.alert("absence-was-wrong", f"{name} is at the broker after all", report.account_id, name)

    def not_sent(self, intent: OrderIntent, reason: str, detail: str) -> None:
        """An order came to nothing before a byte left: people hear of it where something stays open, and what waited
        for it goes on, after the fan-out at hand."""
        if intent.reduce_only and reason not in _EXPECTED:
            self._protection_missing(intent, reason, detail)
        if intent.leader and reason not in _ENDING:
            asyncio.get_running_loop().call_soon(self.react_to, intent.cl_ord_id)

    def react_to(self, cl_ord_id: str) -> None:
        """What follows now for one of our orders."""
        order = self._state.book.orders.get(cl_ord_id)
        if order is not None:
            self.follow(react(self._state.book, order), 0)

    def _protection_missing(self, intent: OrderIntent, reason: str, detail: str) -> None:
        why = f"{reason}: {detail}" if detail else reason
        remedy = (
            "lift the switch or flatten" if reason == "kill_switch" else "place it or close at the broker"
        )
        text = f"the {intent.role} of {intent.qty} {intent.symbol} is missing ({why}); {remedy}"
        self.alert("protection-missing", text, intent.account_id, intent.cl_ord_id)

    def follow(self, follow: FollowUp, received_ns: int = 0) -> None:
        """Make durable what follows, then send it."""
        if follow.is_empty:
            return
        clock = self._state.clock
        stamp = Stamp(received_ns or clock.monotonic_ns(), clock.monotonic_ns(), 0)
        try:
            future = self._log.decide(self._state.workspace_of(follow.account_id), follow)
        except (StoreError, QueueFull):
            self._follow_locally(follow, stamp, folded=False)
            return
        places = self._fanout.encode(follow.released, stamp)

        def committed(done: asyncio.Future[Committed]) -> None:
            if done.cancelled():
                return
            if done.exception() is not None:
                self._follow_locally(follow, stamp, folded=True)
                return
            self._leave(follow, places)

        future.add_done_callback(committed)

    def _leave(self, follow: FollowUp, places: list[Place]) -> None:
        self._fanout.dispatch(places, self._state.clock.monotonic_ns())
        for request in (*follow.cancels, *follow.replaces):
            self._fanout.requests.send(self._state.book.orders.get(request.orig_cl_ord_id))

    def _follow_locally(self, follow: FollowUp, stamp: Stamp, *, folded: bool) -> None:
        """The journal is away: the local exit file makes durable what follows (R-072), or it waits."""
        account_id = follow.account_id
        if not follow.only_shrinks or not self._fanout.look.may_exit(account_id):
            self._react_later(follow.cause)
            return
        try:
            written = self._log.locally(self._state.workspace_of(account_id), follow, folded=folded)
        except (StoreError, QueueFull) as error:
            self.alert("follow-up-not-durable", f"{error.message} {follow.cause} waits.", account_id)
            self._react_later(follow.cause)
            return
        places = self._fanout.encode(follow.released, stamp)

        def kept(done: asyncio.Future[bool]) -> None:
            if done.cancelled():
                return
            if done.result():
                self._leave(follow, places)
                return
            self.alert("exit-file-failed", f"the disk refused; {follow.cause} waits", account_id)
            for intent in follow.released:
                detail = "neither the database nor the local exit file could take it"
                entry = OrderNotSent(intent.cl_ord_id, account_id, "not_durable", detail)
                self._log.note(self._state.workspace_of(account_id), entry)
            self._react_later(follow.cause)

        written.add_done_callback(kept)

    def _react_later(self, cause: str) -> None:
        """What follows could not be made durable: worked out anew once the journal takes decisions."""
        if len(self._unfollowed) < UNFOLLOWED_MAX:
            self._unfollowed[cause] = None
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._react_again)

    def _react_again(self) -> None:
        self._again = None
        if not self._log.takes_decisions:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._react_again)
            return
        waiting, self._unfollowed = self._unfollowed, {}
        for cause in waiting:
            order = self._state.book.orders.get(cause)
            if order is not None:
                held = order.state == "planned"
                self.follow((overdue if held else react)(self._state.book, order), 0)

    def take_up(self, orders: Sequence[ChildOrder]) -> None:
        """After the book was read anew. `orders` are claimed in it, and this process knows that it never wrote them:
        exits and the protection of what is held leave now, entries never late. Requests and held closes go on."""
        now_ns = self._state.clock.monotonic_ns()
        for order in orders:
            intent = order.intent
            parent = self._state.book.orders.get(intent.parent) if intent.parent is not None else None
            if intent.reduce_only and (parent is None or parent.cum_qty > 0):
                self._fanout.dispatch(self._fanout.encode([intent], Stamp(now_ns, now_ns, now_ns)), now_ns)
                continue
            detail = "the commit was unclear, so nothing was written"
            entry = OrderNotSent(intent.cl_ord_id, intent.account_id, "commit_unknown", detail)
            self._log.note(self._state.workspace_of(intent.account_id), entry)
        self.go_on()

    def go_on(self) -> None:
        """Send the requests that have not left, and give held closes their second: after a start or a new book."""
        children = [child for found in self._state.book.open.values() for child in found.values()]
        for child in children:
            self._fanout.requests.send(child)
        self.watch_closes(waiting_closes(children))

    def watch_closes(self, orders: list[ChildOrder]) -> None:
        """Give each held close its second."""
        loop = asyncio.get_running_loop()
        for order in orders:
            name = order.intent.cl_ord_id
            if name not in self._closes:
                self._closes[name] = loop.call_later(CLOSE_WAIT_S, self._close_overdue, name)

    def _close_overdue(self, cl_ord_id: str) -> None:
        self._closes.pop(cl_ord_id, None)
        held = self._state.book.orders.get(cl_ord_id)
        if held is not None and held.state == "planned":
            self.follow(overdue(self._state.book, held), 0)

    def _unknown(self, event: OrderUnknown) -> None:
        effect = self._log.note(
            self._state.workspace_of(event.account_id),
            Doubted(event.cl_ord_id, event.account_id, event.reason),
        )
        if (
            effect.order is None or not effect.order.attached
        ):  # what travels with its entry is one call with it
            self._breakers.failed(event.account_id, event.cl_ord_id)
        text = f"the fate of {event.cl_ord_id} is unknown ({event.reason}): it is looked up, never sent again"
        if effect.order is not None and effect.order.state != "in_doubt":
            return  # its fate was told already
        self.alert("order-in-doubt", effect.fault or text, event.account_id, event.cl_ord_id)
        if self._lookup is not None:
            self._lookup(event.account_id)

    def _request_unknown(self, event: RequestUnknown) -> None:
        self._breakers.failed(event.account_id, event.cl_ord_id)
        child = self._state.book.orders.get(event.cl_ord_id)
        is_cancel = (
            child is not None and child.cancel is not None and child.cancel.cl_ord_id == event.request_id
        )
        kind = "cancel" if is_cancel else "replace"
        failed = RequestFailed(event.cl_ord_id, event.account_id, kind, event.reason)
        self._log.note(self._state.workspace_of(event.account_id), failed)
        self.alert(f"{kind}-unknown", event.reason, event.account_id, event.cl_ord_id)
        if child is not None and child.intent.leader:
            self.follow(react(self._state.book, child), 0)

    # accounts ----------------------------------------------------------------------------------------------

    def _session(self, event: SessionChanged) -> None:
        accounts = self._accounts_of(event.login_id)
        live = event.state in ("live", "draining")
        for account_id in accounts:
            facts = self._state.facts_of(account_id)
            if facts.live and event.state == "backoff":
                self._breakers.failed(account_id)
            facts.lives += live and not facts.live
            facts.live = live
        login = self._state.config.logins.get(event.login_id)
        broker, workspace = (login.broker, login.workspace) if login is not None else ("", "")
        self._log.note(
            workspace, SessionNoted(event.login_id, broker, event.state, event.reason, event.fatal)
        )
        if event.fatal:
            self.alert("session-fatal", f"login {event.login_id}: {event.reason}", "")
        if live:
            self._fanout.drain(accounts)
        if self._on_session is not None:
            self._on_session(event)

    def _accounts_of(self, login_id: str) -> list[str]:
        accounts = self._state.config.accounts.values()
        return [a.account_id for a in accounts if a.login_id == login_id]

    def alert(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None:
        """Something a person must know."""
        self._log.note(self._state.workspace_of(account_id), AlertRaised(code, text, account_id, cl_ord_id))

    def stop(self) -> None:
        """Forget the timers."""
        for timer in self._closes.values():
            timer.cancel()
        self._closes.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
