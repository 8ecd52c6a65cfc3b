"""One account on its way to flat: a loop on what the broker shows, not a command (R-094).

Cancel what works, close what is held, read again, until two reads in a row show nothing. It works without the database
(what happens is journalled when it is back) and never judges by an accepted close: only the broker's own positions
count, and a read that failed is no evidence. What a read means is decided by `kopitra/domain/flattening.py`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.flip_guard import FlipGuard, Held
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Stamp
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.attribution import there
from kopitra.domain.book import ChildOrder
from kopitra.domain.errors import KopitraError, QueueFull, StoreError, Throttled
from kopitra.domain.executions import TERMINAL_STATUS, AccountSnapshot, ExecutionReport
from kopitra.domain.flattening import PATIENCE_S, UNTIL_KNOWN_NS, Ours, Pace, Shown, Step, judge
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import TERMINAL, OrderIntent
from kopitra.domain.signals import sign
from kopitra.ports import NotSent, OrderRef

#: flat reads in a row that confirm
FLAT_READS: Final = 2
#: seconds between two reads at most, whatever a broker asks for
PAUSE_MAX_S: Final = 60.0
#: how often, and after how many seconds, a cancel that found no free connection is tried before the next read
CANCEL_TRIES: Final = 5
CANCEL_RETRY_S: Final = 0.05
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


class Turning(Exception):
    """A contract keeps changing its side: closing it again would only feed that."""


class NobodyTrades(Exception):
    """The broker calls a contract closed: another close now would be refused like the last one."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with."""

    state: State
    log: Log
    fanout: Fanout
    sessions: Sessions
    alert: Callable[[str, str, str], None]
    #: monotonic; when this process began: of executions before it nobody knows when they came
    born_ns: int


class Closing:
    """Closes one account. `until_flat` may be called again after it failed; ids of closes never repeat."""

    def __init__(
        self, parts: Parts, account_id: str, flatten_id: str, list_id: str, tell: Callable[[str], None]
    ) -> None:
        self._parts = parts
        self._state = parts.state
        self._account = account_id
        #: the request that its closes follow from, and their own list: a request may go on in the next process
        self._flatten_id = flatten_id
        self._list_id = list_id
        #: hears how far it is, in words
        self._tell = tell
        self._guard = FlipGuard()
        self._closes = 0
        #: contract -> closes of ours there that were too slow and were canceled
        self._slow: dict[str, int] = {}  # bounded: contracts of one account
        #: our order -> when this run knew of it first (monotonic)
        self._since_ns: dict[str, int] = {}  # bounded: the account's open orders
        self._patience_ns: dict[str, int] = {}  # bounded: likewise

    async def until_flat(self, *, once: bool = False) -> str:
        """The evidence. Raises Turning, and with `once` NobodyTrades when a close was refused because nobody does."""
        pace, flat_at, closed_before = Pace(), list[str](), self._closes
        self._guard = FlipGuard()
        while True:
            found = await self._read()
            step = self._step(found) if isinstance(found, AccountSnapshot) else None
            if step is None:
                flat_at.clear()
                self._tell("the broker's positions and orders cannot be read")
                asked_s = found.retry_after_s if isinstance(found, Throttled) else 0.0
                pause_s = max(asked_s, pace.pause_s(None))
            elif step.is_flat:
                flat_at.append(self._state.clock.now().isoformat(timespec="milliseconds"))
                if len(flat_at) >= FLAT_READS:
                    return f"two reads show no position and no working order ({', '.join(flat_at)})"
                pause_s = pace.pause_s(step.picture)
            else:
                flat_at.clear()
                if once and self._closes > closed_before and (closed := self._closed_market(step)):
                    raise NobodyTrades(f"nobody trades {closed} now")
                await self._act(step)
                pause_s = pace.pause_s(step.picture)
            await asyncio.sleep(min(pause_s, PAUSE_MAX_S))

    # reading -----------------------------------------------------------------------------------------------

    async def _read(self) -> AccountSnapshot | Throttled | None:
        session = self._parts.sessions.of(self._account)
        if session is None:
            return None
        try:
            return await session.snapshot(self._account, None, lane="flatten")
        except Throttled as wait:
            return wait
        except (KopitraError, OSError, TimeoutError, KeyError):
            return None  # a failed read is no evidence; the loop reads again

    def _step(self, found: AccountSnapshot) -> Step | None:
        """What the read asks for; None when it does not tell the positions. Where the list of orders does not read,
        ours by the book stand in for it: what is held is closed, and the account is not called flat."""
        if found.positions is None:
            return None
        book, now_ns = self._state.book, self._state.clock.monotonic_ns()
        orders = self._booked() if found.orders is None else found.orders
        working = tuple(o for o in orders if o.ord_status not in TERMINAL_STATUS and not self._is_over(o))
        held = {p.symbol: p.net_qty for p in found.positions if p.net_qty}
        known = {c for a, c in (*book.positions, *book.sync.unexplained) if a == self._account}
        counted = {c: there(book, self._account, c) for c in known}
        adapter = self._parts.sessions.adapter_of(self._account)
        lag_ns = adapter.capabilities.lists_lag_ms_max * _NS_PER_MS if adapter is not None else 0
        filled_ns = max(self._state.facts_of(self._account).filled_ns, self._parts.born_ns)
        settled = found.started_ns - filled_ns >= lag_ns
        unread = found.orders is None
        step = judge(Shown(held, working, settled), self._ours(now_ns, unread=unread), counted, now_ns)
        return step._replace(is_flat=False, unread=True) if unread else step

    def _booked(self) -> Sequence[ExecutionReport]:
        """Our open orders that the broker has, as a list would tell them."""
        now = self._state.clock.now()
        return [
            ExecutionReport(
                self._account, c.order_id, "order_status", "new", c.intent.symbol, c.intent.side, now,
                c.intent.cl_ord_id, ord_type=c.intent.ord_type, order_qty=c.qty, price=c.price,
                stop_price=c.stop_price,
            )
            for c in self._children()
            if c.order_id is not None
        ]  # fmt: skip

    def _is_over(self, report: ExecutionReport) -> bool:
        """Its executions are all known: the list is late."""
        book = self._state.book
        name = book.by_order_id.get((self._account, report.order_id), report.cl_ord_id or "")
        child = book.orders.get(name)
        return child is not None and child.state == "filled" and child.intent.account_id == self._account

    def _children(self) -> list[ChildOrder]:
        """Open orders of the account that have left, may have left, or are closes of a flatten."""
        found = [
            c for (a, _), some in self._state.book.open.items() if a == self._account for c in some.values()
        ]
        return [
            c
            for c in found
            if c.state not in TERMINAL
            and c.state != "planned"
            and (c.state != "claimed" or c.hops or not c.intent.leader)
        ]

    def _mine(self) -> list[ChildOrder]:
        return [c for c in self._children() if not c.intent.leader]

    def _ours(self, now_ns: int, *, unread: bool) -> list[Ours]:
        children = self._children()
        names = {c.intent.cl_ord_id for c in children}
        self._since_ns = {n: at for n, at in self._since_ns.items() if n in names}
        self._patience_ns = {n: at for n, at in self._patience_ns.items() if n in names}
        return [self._one(child, now_ns, unread=unread) for child in children]

    def _one(self, child: ChildOrder, now_ns: int, *, unread: bool) -> Ours:
        intent = child.intent
        name, contract = intent.cl_ord_id, intent.symbol
        unsent = child.state == "claimed" and not child.hops
        if unsent:
            self._since_ns.pop(name, None)
        since_ns = now_ns if unsent else self._since_ns.setdefault(name, now_ns)
        slow = 0 if intent.leader else min(self._slow.get(contract, 0), len(PATIENCE_S) - 1)
        patience_ns = self._patience_ns.setdefault(name, int(PATIENCE_S[slow] * _NS_PER_S))
        closes = intent.role == "exit"
        if closes and unread and self._may_come_late(child):
            patience_ns = UNTIL_KNOWN_NS
        return Ours(name, contract, child.order_id, closes, unsent, since_ns, patience_ns)

    def _may_come_late(self, child: ChildOrder) -> bool:
        """A close that no answer has named may live at the broker, and one beside it would turn the position: where no
        list reads, nothing speaks against it. Not where the broker itself cuts or closes natively, as a flatten does;
        nor when two reads were without it before, or a person has parked it."""
        if child.order_id is not None or child.superseded or child.state == "parked":
            return False
        adapter = self._parts.sessions.adapter_of(self._account)
        if adapter is None:
            return True
        offers = adapter.capabilities
        return not (offers.reduce_only or (offers.closes_position and not child.intent.leader))

    # acting ------------------------------------------------------------------------------------------------

    async def _act(self, step: Step) -> None:
        self._withdraw(step)
        judged = self._guarded(step)
        unread = "the broker's orders cannot be read: what else works there must be canceled by hand"
        how_far = f"{len(step.cancels)} orders to cancel, {len(step.believed)} positions"
        self._tell("; ".join(filter(None, [how_far, step.waits, unread if step.unread else ""])))
        self._count_slow(step.cancels)
        left = self._ask_cancels(step.cancels)
        await self._close(tuple(h for h in step.closes if h in judged))
        await self._cancel_rest(left)

    def _guarded(self, step: Step) -> Held:
        """What may be closed: a side that turned is closed once more and told (R-095). Each contract on its own: one
        that keeps turning ends the run when it is all that is left."""
        judged = self._guard.look(step.believed)
        for contract in judged.turned:
            text = f"{contract} turned while it was being closed: a stop and our close have both filled"
            self._parts.alert("flatten-turned", f"{text}; the difference is closed once", self._account)
        if judged.given_up and not judged.closable and not step.cancels:
            names = ", ".join(judged.given_up)
            raise Turning(f"{names} keeps turning: something else trades there")
        return judged.closable

    def _closed_market(self, step: Step) -> str:
        account = self._state.account(self._account)
        now_ns, markets = self._state.clock.monotonic_ns(), self._parts.fanout.look.markets
        names = [c for c, _ in step.believed if account and markets.is_closed(account.broker, c, now_ns)]
        return ", ".join(names)

    def _withdraw(self, step: Step) -> None:
        """Closes that still wait for their write and no longer fit what is held: written later they would open."""
        wanted = {contract: -qty for contract, qty in step.believed}
        for child in self._mine():
            intent = child.intent
            unsent = child.state == "claimed" and not child.hops
            if unsent and wanted.get(intent.symbol) != intent.qty * sign(intent.side):
                self._parts.fanout.withdraw(self._account, intent.cl_ord_id)

    def _count_slow(self, cancels: Sequence[ExecutionReport]) -> None:
        """The next close of a contract whose last one was too slow gets more time."""
        mine = {c.order_id: c for c in self._mine() if c.order_id is not None}
        for report in cancels:
            child = mine.get(report.order_id)
            if child is not None and self._patience_ns.get(child.intent.cl_ord_id):
                self._patience_ns[child.intent.cl_ord_id] = 0  # counted once
                self._slow[report.symbol] = self._slow.get(report.symbol, 0) + 1

    def _ask_cancels(self, working: Sequence[ExecutionReport]) -> list[ExecutionReport]:
        """Ask for the cancels; those for which there was no connection just now."""
        session = self._parts.sessions.of(self._account)
        if session is None or self._parts.fanout.look.lease_is_over:
            return []
        busy: list[ExecutionReport] = []
        for report in working:
            name = report.cl_ord_id or report.order_id
            outcome = session.cancel(_ref(report), cl_ord_id(name, self._account, "fc"))
            if isinstance(outcome, NotSent) and outcome.reason == "busy":
                busy.append(report)
        return busy

    async def _cancel_rest(self, left: list[ExecutionReport]) -> None:
        """Connections come free within milliseconds, and another read costs more than it tells."""
        for _ in range(CANCEL_TRIES):
            if not left:
                return
            await asyncio.sleep(CANCEL_RETRY_S)
            left = self._ask_cancels(left)

    async def _close(self, held: Held) -> None:
        """One market close for each of these contracts."""
        intents: list[OrderIntent] = []
        for contract, qty in held:
            self._closes += 1
            intents.append(self._closing_intent(contract, qty, f"f{self._closes}"))
        if not intents:
            return
        entry = FollowUp(self._flatten_id, self._account, released=tuple(intents))
        if not await self._durable(entry):
            return
        now_ns = self._state.clock.monotonic_ns()
        fanout = self._parts.fanout
        fanout.dispatch(fanout.encode(intents, Stamp(now_ns, now_ns, now_ns)), now_ns)

    async def _durable(self, entry: FollowUp) -> bool:
        """In the journal, or in the local exit file while the database is away (R-072). False: it must wait, because
        the lease is over and closing twice would do harm at this broker.

        A person asked for it: without journal and without disk it goes all the same, and is told.
        """
        log, workspace, folded = self._parts.log, self._state.workspace_of(self._account), False
        try:
            durable = log.decide(workspace, entry)
            folded = True
            await durable
            return True
        except (StoreError, QueueFull):
            if not self._parts.fanout.look.may_exit(entry.account_id, flatten=True):
                return False
        try:
            if await log.locally(workspace, entry, folded=folded):
                return True
        except (StoreError, QueueFull):
            if folded:
                log.keep(workspace, entry)
            else:
                log.note(workspace, entry)
                log.on_decided(entry)
        text = "a close of the flatten is written down nowhere yet: database and local file are away"
        self._parts.alert("exit-file-failed", text, entry.account_id)
        return True

    def _closing_intent(self, contract: str, qty: Decimal, leg: str) -> OrderIntent:
        return OrderIntent(
            cl_ord_id=cl_ord_id(self._list_id, self._account, leg),
            list_id=self._list_id,
            account_id=self._account,
            leader="",
            leg=leg,
            role="exit",
            symbol=contract,
            side="sell" if qty > 0 else "buy",
            qty=abs(qty),
            reduce_only=True,
        )


def _ref(report: ExecutionReport) -> OrderRef:
    return OrderRef(
        report.cl_ord_id or "",
        report.order_id,
        report.account_id,
        report.symbol,
        report.side,
        report.ord_type or "market",
        report.order_qty or Decimal(0),
        report.price,
        report.stop_price,
        None,
        report.time_in_force or "day",
    )
