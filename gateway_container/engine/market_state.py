"""What the brokers say of the market: entries wait for nothing, exits for everything (R-064, R-065).

A refusal "market closed" closes the contract at that broker for entries until a trade shows otherwise or the word
grows old. An exit that is refused so becomes a pending exit: told at once, tried again at most once a second by the
ladder of `kopitra/domain/exit_ladder.py`, until the holding is where it should be.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.log import Log
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.exit_ladder import PAGE_AT, as_rung, pause_s, rung_of, rungs
from kopitra.domain.flattening import is_flattening
from kopitra.domain.journal import ExitPending, FollowUp
from kopitra.domain.orders import TERMINAL, ZERO, OrderIntent
from kopitra.domain.pending_exits import MARKET_CLOSED, PASSING, ExitKey, PendingExit
from kopitra.domain.react import close_again
from kopitra.domain.switches import Covered
from kopitra.ports import BrokerAdapter, Capabilities

#: seconds that a broker's "closed" is believed for entries; while an exit is pending it is heard again and again
CLOSED_S: Final = 10.0
#: seconds between two looks at the pending exits
LOOK_EVERY_S: Final = 0.25
#: nanoseconds between two tries of one exit, whatever happens
TRY_GAP_NS: Final = 1_000_000_000
_NS: Final = 1_000_000_000


class Teller(Protocol):
    """Who tells people, and carries out what follows (the reports)."""

    def alert(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...
    def follow(self, follow: FollowUp) -> None: ...


class Markets:
    """Contracts that a broker called closed. The event loop alone touches it."""

    def __init__(self) -> None:
        #: (broker, contract) -> monotonic time until which the word counts; bounded by the contracts that are traded
        self.closed: dict[tuple[str, str], int] = {}
        #: how often a closed contract was seen open again
        self.openings = 0

    def refused(self, broker: str, symbol: str, now_ns: int) -> None:
        """The broker said closed."""
        self.closed[broker, symbol] = now_ns + int(CLOSED_S * _NS)

    def is_closed(self, broker: str, symbol: str, now_ns: int) -> bool:
        """May entries try? Ask only while `closed` is not empty."""
        until_ns = self.closed.get((broker, symbol))
        if until_ns is None:
            return False
        if now_ns >= until_ns:
            del self.closed[broker, symbol]
            return False
        return True

    def traded(self, broker: str, symbol: str) -> None:
        """An execution proves that the market is open."""
        if self.closed.pop((broker, symbol), None) is not None:
            self.openings += 1


class PendingExits:
    """Drives the exits that nobody takes; what is pending is in the book."""

    def __init__(
        self,
        state: State,
        log: Log,
        markets: Markets,
        sessions: Sessions,
        adapters: Mapping[str, BrokerAdapter],
        tell: Teller,
    ) -> None:
        self._state = state
        self._log = log
        self._markets = markets
        self._sessions = sessions
        self._adapters = adapters
        self._tell = tell
        #: monotonic times of the next and the last try; bounded by what is pending
        self._due_ns: dict[ExitKey, int] = {}
        self._tried_ns: dict[ExitKey, int] = {}
        self._openings = 0
        #: takes the failure of one account
        self.failed: Failed = uncontained

    def refused(self, order: ChildOrder, report: ExecutionReport) -> bool:
        """A broker refused an order. True: it is an exit that is tried again from here."""
        if report.ord_rej_reason not in PASSING:
            return False
        intent, clock = order.intent, self._state.clock
        account = self._state.account(intent.account_id)
        if account is not None and report.ord_rej_reason == MARKET_CLOSED:
            self._markets.refused(account.broker, intent.symbol, clock.monotonic_ns())
        if intent.role != "exit" or not intent.leader:
            return False
        self._pend(intent, report.text or report.ord_rej_reason)
        return True

    def crowded(self, intent: OrderIntent) -> None:
        """A close found no room among the account's waiting orders: it is tried again from here (R-050)."""
        self._pend(intent, "the account's queue is full")

    def _pend(self, intent: OrderIntent, why: str) -> None:
        clock = self._state.clock
        key = ExitKey(intent.account_id, intent.leader, intent.symbol)
        known = self._state.book.pending_exits.get(key)
        tries = 0 if known is None else known.tries
        self._note(key, intent.cl_ord_id, why, tries)
        self._due_ns[key] = clock.monotonic_ns() + int(pause_s(tries, clock.now()) * _NS)
        if known is None:
            text = f"nobody takes the exit of {intent.symbol} ({why}): it is tried again until it is filled"
            self._tell.alert("exit-pending", text, intent.account_id, intent.cl_ord_id)
        elif tries == PAGE_AT:
            text = f"{tries} tries to close {intent.symbol} were refused ({why}): close it at the broker"
            self._tell.alert("exit-stuck", text, intent.account_id, intent.cl_ord_id)

    def _note(self, key: ExitKey, cause: str, reason: str, tries: int, over: bool = False) -> None:
        entry = ExitPending(*key, cause, reason, tries, self._state.clock.now(), over)
        self._log.note(self._state.workspace_of(key.account_id), entry)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._state.book.pending_exits:
                self.look()

    def look(self) -> None:
        """Try what is due; after a change of the market's state everything is, a second after its last try."""
        changed = self._openings != self._markets.openings
        self._openings = self._markets.openings
        now_ns = self._state.clock.monotonic_ns()
        for key, pending in tuple(self._state.book.pending_exits.items()):
            if changed:
                self._due_ns[key] = self._tried_ns.get(key, 0) + TRY_GAP_NS
            if now_ns >= self._due_ns.get(key, 0):
                self._try_one(key, pending, now_ns)

    def _try_one(self, key: ExitKey, pending: PendingExit, now_ns: int) -> None:
        try:
            self._try(key, pending, now_ns)
        except Exception as error:  # noqa: BLE001 - it is tried again, and other accounts' exits are too
            self.failed(key.account_id, "trying a pending exit again", error)

    def _try(self, key: ExitKey, pending: PendingExit, now_ns: int) -> None:
        self._due_ns[key] = now_ns + TRY_GAP_NS
        book = self._state.book
        cause = book.orders.get(pending.cause)
        children = book.children(key.account_id, key.leader, "exit", key.symbol)
        # Another close stands in for a superseded one: nothing comes of that any more.
        if any(c.state not in TERMINAL and not c.superseded for c in children) or not self._may_leave(key):
            return
        follow = FollowUp("", "") if cause is None else close_again(book, cause)
        if not follow.released:
            self._due_ns.pop(key, None)
            self._tried_ns.pop(key, None)
            self._note(key, pending.cause, "nothing is left to close", pending.tries, over=True)
            return
        self._tried_ns[key] = now_ns
        self._due_ns[key] = now_ns + int(pause_s(pending.tries + 1, self._state.clock.now()) * _NS)
        self._note(key, pending.cause, pending.reason, pending.tries + 1)
        closes = tuple(self._shaped(key, close, pending.tries) for close in follow.released)
        self._tell.follow(replace(follow, released=closes))

    def _may_leave(self, key: ExitKey) -> bool:
        """Over a live session, and not into a halt: a person stopped that, and lifts it; nor beside a flatten."""
        session, account = self._sessions.of(key.account_id), self._state.account(key.account_id)
        if session is None or session.state != "live" or account is None:
            return False
        if is_flattening(self._state.book.flattens, key.account_id):
            return False
        covered = Covered(account.workspace, key.leader, account.broker, key.account_id)
        return self._state.book.switches.effective(covered) != "halted"

    def _shaped(self, key: ExitKey, close: OrderIntent, tries: int) -> OrderIntent:
        account = self._state.account(key.account_id)
        offers = self._adapters[account.broker].capabilities if account is not None else None
        ladder = rungs(*self._offers(key, offers))
        return as_rung(close, rung_of(tries, ladder), self._state.prices.get(root_of(key.symbol)))

    def _offers(self, key: ExitKey, offers: Capabilities | None) -> tuple[bool, bool]:
        """(native close, immediate-or-cancel). A native close takes the whole position: it must all be ours."""
        if offers is None:
            return False, False
        held = self._state.book.held(key.account_id, key.leader).get(key.symbol)
        told = self._state.facts_of(key.account_id).positions.get(key.symbol)
        counted = self._state.book.positions.get((key.account_id, key.symbol))
        ours = (
            held is not None and told == held.qty and (ZERO if counted is None else counted.qty) == held.qty
        )
        return offers.closes_position and ours, "ioc" in offers.times_in_force
