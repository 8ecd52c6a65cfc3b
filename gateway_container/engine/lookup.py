"""Looking up what is in doubt: the broker is asked, again and again, more and more slowly; nothing is sent twice.

What a read shows goes the way of every snapshot. What reads that do not show an order prove is decided by
`kopitra/domain/doubt.py`; this module makes the reads and carries out what follows: proof of absence with its
evidence, a new close for an exit, an entry once more where that is allowed, and the people who must know.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.log import Log
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder
from kopitra.domain.case import max_age_ms
from kopitra.domain.doubt import (
    TELL_AFTER_READS,
    Absent,
    Doubt,
    Read,
    Resend,
    Sight,
    Unfound,
    given_up,
    is_held_still,
    looked,
    renewed_close,
    resent,
)
from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.journal import AbsenceProved, FollowUp, ReadFact
from kopitra.domain.orders import ZERO
from kopitra.ports import Capabilities
from kopitra.store.ending import ended

#: seconds before each read; the last one repeats
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: seconds between two looks for doubts that nobody told of
SWEEP_S: Final = 1.0
#: how far back a read asks for orders and executions
LOOK_BACK: Final = timedelta(hours=24)
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


class Followers(Protocol):
    """What carries out what follows (the reports)."""

    def handle(self, event: AccountSnapshot, /) -> None: ...
    def follow(self, follow: FollowUp) -> None: ...
    def react_to(self, cl_ord_id: str) -> None: ...
    def watch_closes(self, orders: list[ChildOrder]) -> None: ...
    def alert(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...


class Lookup:
    """One task per account that has an order in doubt."""

    def __init__(
        self,
        state: State,
        log: Log,
        sessions: Sessions,
        reports: Followers,
        is_fenced: Callable[[], bool],
    ) -> None:
        self._state = state
        self._log = log
        self._sessions = sessions
        self._reports = reports
        #: the lease is over: another process may be writing
        self._is_fenced = is_fenced
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: by order, as long as it is in doubt
        self._doubts: dict[str, Doubt] = {}
        #: orders that people were told of
        self._told: set[str] = set()

    def oldest_ns(self) -> int | None:
        """When the oldest doubt began (monotonic); None without one."""
        open_since = [
            doubt.since_ns
            for name, doubt in self._doubts.items()
            if (order := self._state.book.orders.get(name)) is not None and order.state == "in_doubt"
        ]
        return min(open_since, default=None)

    def ask(self, account_id: str) -> None:
        """An order of the account is in doubt; safe to repeat."""
        for order in self.doubtful(account_id):
            self._doubts.setdefault(order.intent.cl_ord_id, Doubt(self._state.clock.monotonic_ns()))
        if account_id in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._run(account_id), name=f"lookup {account_id}")
        self._tasks[account_id] = task
        task.add_done_callback(lambda _done: self._tasks.pop(account_id, None))

    async def run(self) -> None:
        """Sweep until cancelled: a doubt that came with a new book, or with an adopted order, is nobody's event."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.ask_all()

    def ask_all(self) -> None:
        """Whatever is in doubt."""
        waiting = self._state.book.doubts.values()
        for account_id in sorted({child.intent.account_id for child in waiting if child.state == "in_doubt"}):
            self.ask(account_id)

    def doubtful(self, account_id: str) -> list[ChildOrder]:
        """The account's orders in doubt, parked ones left out."""
        return [
            child
            for child in self._state.book.doubts.values()
            if child.intent.account_id == account_id and child.state == "in_doubt"
        ]

    async def _run(self, account_id: str) -> None:
        attempt = 0
        until_ns = 0
        while self.doubtful(account_id):
            await asyncio.sleep(self._pause_s(attempt, until_ns))
            attempt += 1
            try:
                until_ns = await self._read(account_id)
            except Exception as error:  # noqa: BLE001 - it is looked up again, and people know
                until_ns = 0
                self.failed(account_id, "looking up its orders in doubt", error)
        self._forget()

    def _pause_s(self, attempt: int, until_ns: int) -> float:
        """The next pause, or less where a read can prove something sooner."""
        pause_s = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
        left_s = (until_ns - self._state.clock.monotonic_ns()) / _NS_PER_S
        return min(pause_s, left_s) if left_s > PAUSES_S[0] else pause_s

    def _forget(self) -> None:
        """What is not in doubt any more."""
        orders = self._state.book.orders
        over = [n for n in self._doubts if (o := orders.get(n)) is None or o.state != "in_doubt"]
        for name in over:
            del self._doubts[name]
            self._told.discard(name)

    async def _read(self, account_id: str) -> int:
        """One look; monotonic nanoseconds before which another one proves nothing, 0 for any."""
        session = self._sessions.of(account_id)
        adapter = self._sessions.adapter_of(account_id)
        facts = self._state.facts_of(account_id)
        life = facts.lives
        if session is None or adapter is None or session.state != "live":
            return 0
        since = self._state.clock.now() - LOOK_BACK
        try:
            snapshot = await session.snapshot(account_id, since)
        except (KopitraError, OSError, TimeoutError, KeyError):
            return 0  # a failed read is no evidence
        # Executions that came meanwhile make the positions older than the book: such a read proves nothing.
        is_fresh = snapshot.started_ns >= facts.filled_ns
        self._reports.handle(snapshot)
        unbroken = facts.live and facts.lives == life
        looks = [
            self._look(order, snapshot, adapter.capabilities, life if unbroken and is_fresh else 0, since)
            for order in self.doubtful(account_id)
        ]
        return min(looks, default=0)

    def _look(
        self, order: ChildOrder, snapshot: AccountSnapshot, offers: Capabilities, life: int, since: datetime
    ) -> int:
        """What a read that did not show an order means for it."""
        name = order.intent.cl_ord_id
        read = Read(
            snapshot.started_ns,
            _is_whole(snapshot, offers),
            life,
            not self._is_fenced(),
            self._net_qty(order, snapshot) == self._counted(order),
        )
        doubt = self._doubts.get(name) or Doubt(self._state.clock.monotonic_ns())
        # A list that begins after the order did cannot show it.
        reaches = order.acted_at is not None and order.acted_at > since
        sight = Sight(offers.proves_absence and reaches, offers.lists_lag_ms_max)
        if order.intent.after and is_held_still(self._state.book, order, doubt, read, sight):
            self._absent(order, (read,), doubt, sight, offers)
            return 0
        finding = looked(doubt, read, sight)
        if isinstance(finding, Absent):
            self._absent(order, finding, doubt, sight, offers)
            return 0
        self._doubts[name] = finding.doubt
        if isinstance(finding, Unfound):
            self._unfound(order, finding, snapshot)
            return 0
        if finding.doubt.reads >= TELL_AFTER_READS:
            self._tell(order, f"it is in none of {TELL_AFTER_READS} reads")
        return finding.until_ns

    def _counted(self, order: ChildOrder) -> object:
        position = self._state.book.positions.get((order.intent.account_id, order.intent.symbol))
        return position.qty if position is not None else ZERO

    def _net_qty(self, order: ChildOrder, snapshot: AccountSnapshot) -> object:
        if snapshot.positions is None:
            return None
        symbol = order.intent.symbol
        return next((p.net_qty for p in snapshot.positions if p.symbol == symbol), ZERO)

    # what follows ------------------------------------------------------------------------------------------

    def _absent(
        self, order: ChildOrder, proof: Sequence[Read], doubt: Doubt, sight: Sight, offers: Capabilities
    ) -> None:
        """Reads agree: the evidence is kept, and what the order was for goes on without it."""
        intent = order.intent
        reads = tuple(ReadFact((read.started_ns - doubt.since_ns) // _NS_PER_MS, read.life) for read in proof)
        entry = AbsenceProved(
            intent.cl_ord_id, intent.account_id, reads, sight.t_vis_ns // _NS_PER_MS
        )  # fmt: skip
        self._log.note(self._state.workspace_of(intent.account_id), entry)
        self._forget()
        self.go_on_without(order, offers)

    def go_on_without(self, order: ChildOrder, offers: Capabilities | None) -> None:
        """An order was never placed (by proof, or by a person's word): tell it, and do what follows (R-011, R-012)."""
        intent = order.intent
        if intent.after:
            self._wait_on(order)
            return
        again = None if offers is None else resent(self._state.book, order, self._may_resend(order, offers))
        if intent.role == "entry":
            what = "it is sent again under its id" if again else "send the signal anew if it is still wanted"
            self._alert("order-not-placed", f"the broker never had this entry; {what}", order)
        elif intent.role == "exit":
            self._alert("order-not-placed", "the broker never had this close: it is closed anew", order)
        else:
            text = f"the broker never had this {intent.role}; place it or close at the broker"
            self._alert("protection-missing", text, order)
        if again is not None:
            self._reports.follow(again)
        elif intent.leader:
            self._reports.react_to(intent.cl_ord_id)

    def _wait_on(self, order: ChildOrder) -> None:
        """It did not leave: what it waits for, or what waits for it, may have happened meanwhile."""
        if order.state == "planned" and order.intent.role == "exit":
            self._reports.watch_closes([order])
        for name in order.intent.after if order.state == "planned" else (order.intent.cl_ord_id,):
            self._reports.react_to(name)

    def _may_resend(self, order: ChildOrder, offers: Capabilities) -> Resend:
        intent = order.intent
        rules = self._state.config.rules_for(intent.leader)
        rule = next((r for r in rules if r.account_id == intent.account_id), None)
        if rule is None or order.acted_at is None:
            return Resend(False, False, 0, 0)
        age_ms = round((self._state.clock.now() - order.acted_at).total_seconds() * 1000)
        return Resend(rule.resend_entry_after_proof, offers.dedups_for_ever, age_ms, max_age_ms(rule, intent))

    def _unfound(self, order: ChildOrder, finding: Unfound, snapshot: AccountSnapshot) -> None:
        """No proof to be had: an exit is made anew from what the broker shows, the rest needs a person."""
        symbol = order.intent.symbol
        held = next((p.net_qty for p in snapshot.positions or () if p.symbol == symbol), ZERO)
        follow = renewed_close(self._state.book, order, held)
        if follow is not None:
            self._reports.follow(follow)
            text = f"it cannot be found ({finding.why}): a new close of {follow.released[0].qty} stands in for it"
            self._alert("exit-renewed", text, order)
            return
        self._tell(order, f"it cannot be found ({finding.why})")
        if (over := given_up(self._state.book, order, held)) is not None:
            self._reports.follow(over)

    def _tell(self, order: ChildOrder, why: str) -> None:
        name = order.intent.cl_ord_id
        if name in self._told:
            return
        self._told.add(name)
        self._alert(
            "order-not-found", f"{why}: look at the broker's own screen, then park or settle it", order
        )

    def _alert(self, code: str, text: str, order: ChildOrder) -> None:
        self._reports.alert(
            code, f"{order.intent.cl_ord_id}: {text}", order.intent.account_id, order.intent.cl_ord_id
        )

    async def stop(self) -> None:
        """Ask no more."""
        await ended(list(self._tasks.values()))


def _is_whole(snapshot: AccountSnapshot, offers: Capabilities) -> bool:
    """Everything that could show an order was told."""
    told = snapshot.orders is not None and snapshot.positions is not None
    return told and (snapshot.executions is not None or not offers.lists_executions)
