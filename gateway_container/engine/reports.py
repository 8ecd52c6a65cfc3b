"""What brokers say: each event becomes a fact in the book and the journal, and what follows from it is decided.

Called by the sessions on the event loop, in the order of the wire. Never raises: an event that does not fit stops
the entries of its own account and raises an alert; other accounts do not notice.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.following import Following
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Stamp
from gateway_container.engine.state import State
from gateway_container.engine.surprises import Surprises
from kopitra.domain.executions import (
    AccountSnapshot,
    BalanceReport,
    ExecutionReport,
    PositionReport,
    Quote,
)
from kopitra.domain.flattening import LEFT_TO_FLATTEN
from kopitra.domain.fold import Effect
from kopitra.domain.journal import (
    AlertRaised,
    FollowUp,
    OrderNotSent,
    Reported,
    SessionNoted,
)
from kopitra.domain.moving import MOVES_OF_ONE_MAX
from kopitra.domain.orders import TERMINAL, ChildOrder, OrderIntent
from kopitra.domain.protecting import unmirrored
from kopitra.domain.react import PROCESS_ENDED, overdue, react, unfollowing, waiting_closes
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

#: seconds that a close waits for the cancels before it (R-038)
CLOSE_WAIT_S: Final = 1.0
#: nothing is missing: we took it back ourselves, nothing was left to close, or a flatten closes it
_EXPECTED: Final = frozenset({"canceled_before_send", "nothing_held", "withdrawn", LEFT_TO_FLATTEN})
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
        fanout.requests.on_barred = self._unfollowing
        fanout.on_unknown = self.handle
        self._leaders: LeaderFeed | None = None
        self._on_snapshot: Callable[[AccountSnapshot], None] = _unheard
        self._on_session: Callable[[SessionChanged], None] | None = None
        self._markets = fanout.look.markets
        #: True: the refused order is tried again from there
        self.on_refused: Callable[[ChildOrder, ExecutionReport], bool] = lambda _order, _report: False
        #: who tries an exit again that found no room
        self.on_crowded: Callable[[OrderIntent], None] = lambda _intent: None
        #: who hears of penalties and of brokers' clocks
        self.on_notice: Callable[[LoginNotice], None] = _unnoticed
        #: who hears of executions of no order of ours
        self.on_foreign: Callable[[ExecutionReport], None] = lambda _report: None
        self.surprises = Surprises(state, log, self._breakers, self.alert, self.react_to)
        self._closes: dict[str, asyncio.TimerHandle] = {}
        self._following = Following(state, log, fanout, self.alert)

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
        self.surprises.lookup = lookup
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
                self.surprises.unknown(event)
            case RequestUnknown():
                self.surprises.request_unknown(event)
            case SessionChanged():
                self._session(event)
            case ProtocolAlert():
                self.surprises.told(event)
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
            self.surprises.reported(report, effect)
        order = effect.order
        if order is None:
            return
        self._on_report(order, report)
        intent, state = order.intent, order.state
        if effect.before == "claimed" or report.exec_type in _REQUEST_ANSWERED:
            self._breakers.answered(intent.account_id, intent.cl_ord_id)
        if state == "rejected" and effect.before != "rejected":
            self._rejected(order, report)
        if state in TERMINAL and state != effect.before and intent.role in ("stop", "target"):
            self._protection_over(order)
        # The closes of a flatten belong to no leader: their own loop judges them, by what the broker holds.
        news = state != effect.before or effect.new_execution or report.exec_type in _ANSWERS
        if intent.leader and news and self._asked(order, report):
            return  # what it wants of the broker leaves once it is durable
        if order.cancel is not None or order.replace is not None:
            self._fanout.requests.send(order)

    def _asked(self, order: ChildOrder, report: ExecutionReport) -> bool:
        """What follows is decided; True when that is a cancel or move of this order."""
        name = order.intent.cl_ord_id
        if report.exec_type == "replace_rejected" and order.moves_failed == MOVES_OF_ONE_MAX:
            text = f"{order.moves_failed} moves in a row were refused ({report.text}); move it at the broker"
            self.alert("move-refused", text, order.intent.account_id, name)
        follow = react(self._state.book, order)
        if follow.is_empty:
            return False
        self.follow(follow, report.received_ns)
        return follow.asks(name)

    def _executed(self, report: ExecutionReport, *, foreign: bool) -> None:
        self._state.executed(report)
        self._fanout.asserts.filled(report)
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

    def _protection_over(self, order: ChildOrder) -> None:
        name, intent = unmirrored(self._state.book, order), order.intent
        if name:
            text = (
                f"the leader's {name} still rests, and no {intent.role} covers the {intent.symbol} here: its copy "
                "was ended for a newer one, which is over now; place it, or close at the broker"
            )
            self.alert("protection-missing", text, intent.account_id, intent.cl_ord_id)

    def not_sent(self, intent: OrderIntent, reason: str, detail: str) -> None:
        """An order came to nothing before a byte left: people hear of it where something stays open, and what waited
        for it goes on, after the fan-out at hand."""
        if reason == "queue_full" and intent.role == "exit" and intent.leader:
            self.on_crowded(intent)
        elif intent.reduce_only and reason not in _EXPECTED:
            self._protection_missing(intent, reason, detail)
        if intent.leader and reason not in PROCESS_ENDED:
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
        if reason in PROCESS_ENDED and intent.role == "exit":
            remedy = "the next start closes what is too much then"
        text = f"the {intent.role} of {intent.qty} {intent.symbol} is missing ({why}); {remedy}"
        self.alert("protection-missing", text, intent.account_id, intent.cl_ord_id)

    def _unfollowing(self, order: ChildOrder, reason: str) -> None:
        """Its leader moved it, and it may not follow: it is canceled, and people hear why (I-06)."""
        self.follow(unfollowing(order))
        if order.cancel is not None:
            name, symbol = order.intent.cl_ord_id, order.intent.symbol
            text = f"its leader moved {name} ({symbol}), which may not follow ({reason}): it is canceled"
            self.alert("move-stopped", text, order.intent.account_id, name)

    def follow(self, follow: FollowUp, received_ns: int = 0) -> None:
        """Make durable what follows, then send it."""
        self._following.follow(follow, received_ns)

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
        self._following.stop()
