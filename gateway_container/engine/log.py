"""Recording: fold an entry into the book and append it to the journal, in one order.

Decisions (plans, follow-ups, switches) go through `decide`: nothing they order leaves before their future says
durable. Facts that already happened (reports) go through `note`: they are folded at once, and when the database is
away they wait in a bounded backlog, because what a broker did is true whether or not we can write it down.

When a decision turns out not to be durable, or durable without anybody acting on it, the book holds something the
journal does not say: `on_broken` asks for the book to be folded anew from the journal before the next decision.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from heapq import merge
from operator import itemgetter
from typing import Final, NamedTuple

from gateway_container.engine.exit_file import ExitLog
from gateway_container.engine.state import State
from kopitra.domain.errors import LeaseLost, QueueFull, StoreError, Unavailable
from kopitra.domain.fold import Effect, fold
from kopitra.domain.journal import KINDS, AlertRaised, Entry
from kopitra.store.drafts import Committed, Draft, IdempotencyDraft, JournalRow
from kopitra.store.encoding import encode
from kopitra.store.journal import JournalWriter

#: facts kept while the database is away; beyond it the oldest is lost to the journal (not to the broker) and the
#: account's entries stop
BACKLOG_MAX: Final = 20_000
#: seconds that facts gather before they are appended: what a crash may cost the journal, and a snapshot brings back
FACTS_WAIT_S: Final = 0.005
#: facts that are appended at once without waiting for more
FACTS_MAX: Final = 256
#: seconds between attempts to write the backlog
RETRY_S: Final = 0.25


class Fact(NamedTuple):
    """What happened. `turn`: its place among everything that was folded here: the journal keeps that order."""

    turn: int
    workspace: str
    entry: Entry


class Log:
    """The one place where entries enter the book."""

    def __init__(
        self, state: State, writer: JournalWriter, exits: ExitLog, on_broken: Callable[[str], None]
    ) -> None:
        self._state = state
        self._writer = writer
        #: what was sent while the journal was away; it goes in before anything else does
        self._exits = exits
        self._bringing: asyncio.Task[None] | None = None
        self._on_broken = on_broken
        self._backlog: deque[Fact] = deque()  # bounded: BACKLOG_MAX in keep
        #: of the newest fact, and of the newest record of the exit file
        self._turn = 0
        #: facts of the last few milliseconds, at most FACTS_MAX, and their bytes: made when a fact comes, because
        #: the next decision, which must be written behind them, is in more of a hurry
        self._facts: list[Fact] = []
        self._drafts: list[Draft] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        #: appends whose fate is not known yet
        self._unsettled = 0
        #: False while the book is folded anew: no decision may be made on it
        self.accepting = True
        #: hears of each decision that orders may leave for
        self.on_decided: Callable[[Entry], None] = lambda _entry: None

    @property
    def backlog(self) -> int:
        """Facts that wait for the database."""
        return len(self._backlog)

    @property
    def is_quiet(self) -> bool:
        """Nothing of ours is on its way into the journal, and the journal takes facts: what it holds now is all."""
        return self._unsettled == 0 and not self._facts and self._writer.available

    @property
    def takes_decisions(self) -> bool:
        """`decide` would not refuse now."""
        return self.accepting and self._writer.available and not self._exits.waiting

    def decide(
        self,
        workspace: str,
        *entries: Entry,
        signal_id: str | None = None,
        record: IdempotencyDraft | None = None,
    ) -> asyncio.Future[Committed]:
        """Append decisions and fold them. Raises Unavailable or LeaseLost before anything changed."""
        if not self.accepting or self._exits.waiting:
            raise Unavailable("The gateway is reading its journal again; try again in a moment.")
        self._catch_up()
        future = self._writer.append([self._draft(workspace, e, signal_id, record) for e in entries])
        self._writer.flush()  # the commit is on its way while the book and the orders' bytes are made
        self._unsettled += 1
        for entry in entries:
            fold(self._state.book, entry)
            self.on_decided(entry)
        future.add_done_callback(self._decided)
        return future

    def decide_one(
        self, workspace: str, entry: Entry, record: IdempotencyDraft | None
    ) -> tuple[asyncio.Future[Committed], Effect]:
        """Like `decide` for one entry, and what it did to the book."""
        if not self.accepting or self._exits.waiting:
            raise Unavailable("The gateway is reading its journal again; try again in a moment.")
        self._catch_up()
        future = self._writer.append([self._draft(workspace, entry, None, record)])
        self._unsettled += 1
        effect = fold(self._state.book, entry)
        future.add_done_callback(self._decided)
        return future, effect

    def _decided(self, future: asyncio.Future[Committed]) -> None:
        self._unsettled -= 1
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, LeaseLost):  # a lost lease ends this book for good
            self._on_broken(str(error))

    def evidence(self, workspace: str, entry: Entry, record: IdempotencyDraft) -> asyncio.Future[Committed]:
        """Append once (by `record`) what moves nothing in the book; the caller repeats it when it fails."""
        return self._writer.append([self._draft(workspace, entry, None, record)])

    def locally(
        self,
        workspace: str,
        entry: Entry,
        *,
        signal_id: str | None = None,
        folded: bool = False,
        turn: int = 0,
    ) -> asyncio.Future[bool]:
        """Put what shrinks, cancels, protects or stops into the local exit file while the journal is away, and fold
        it unless the book holds it already (`folded`; `turn`: when). Act on it once the future says True.

        Raises StoreError or QueueFull: neither the journal nor the file takes it now, and nothing happened.
        """
        written = self._exits.put(workspace, entry, signal_id, turn or self._next_turn())
        if not folded:
            fold(self._state.book, entry)
            self.on_decided(entry)
        self._retry_later()
        return written

    def secure(self, workspace: str, entry: Entry) -> asyncio.Future[bool] | None:
        """Fold a fact that must outlive this process; the future says when the journal or the local file has it.

        None: neither takes it now; it waits in memory.
        """
        with contextlib.suppress(StoreError, QueueFull):
            return self._surely(workspace, entry) if self.takes_decisions else self.locally(workspace, entry)
        self.note(workspace, entry)
        return None

    def _surely(self, workspace: str, entry: Entry) -> asyncio.Future[bool]:
        """Into the journal, or into the file when the commit turns out unclear: an outage begins unannounced."""
        self._catch_up()
        future = self._writer.append([self._draft(workspace, entry, None, None)])
        self._unsettled += 1
        fold(self._state.book, entry)
        turn = self._next_turn()
        safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settled(done: asyncio.Future[Committed]) -> None:
            self._unsettled -= 1
            if not done.cancelled() and done.exception() is None:
                _tell(safe, told=True)
                return
            try:
                written = self.locally(workspace, entry, folded=True, turn=turn)
            except (StoreError, QueueFull):
                self._keep(Fact(turn, workspace, entry))
                _tell(safe, told=False)
                return
            written.add_done_callback(lambda end: _tell(safe, told=not end.cancelled() and end.result()))

        future.add_done_callback(settled)
        return safe

    def found(self, rows: Sequence[JournalRow]) -> None:
        """Rows that are durable although their owner was told otherwise: one turn later, when all who were told so have
        put back what they mean to write again."""
        self._unsettled += 1  # until then nothing that waits may be written again
        asyncio.get_running_loop().call_soon(self._found, rows)

    def _found(self, rows: Sequence[JournalRow]) -> None:
        """Each row stands for one fact: folding one twice is not always harmless."""
        self._unsettled -= 1
        self._exits.found(rows)
        written = Counter((row.entry, row.payload) for row in rows)
        waiting, self._backlog = self._backlog, deque()  # bounded: it shrinks
        for fact in waiting:
            key = (type(fact.entry).__name__, encode(fact.entry))
            if written[key]:
                written[key] -= 1
            else:
                self._backlog.append(fact)
        if self._exits.is_stale:
            self._retry_later()

    def note(self, workspace: str, entry: Entry) -> Effect:
        """Fold a fact now and append it; never raises."""
        effect = fold(self._state.book, entry)
        fact = Fact(self._next_turn(), workspace, entry)
        if self._backlog or not self.accepting or self._exits.waiting:
            self._keep(fact)
        else:
            self._append_fact(fact)
        return effect

    def _append_fact(self, fact: Fact) -> None:
        """Facts gather for a few milliseconds: the connection stays free for the next decision."""
        self._facts.append(fact)
        self._drafts.append(self._draft(fact.workspace, fact.entry, None, None))
        if len(self._facts) >= FACTS_MAX:
            self._write_facts()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(FACTS_WAIT_S, self._write_facts)

    def _write_facts(self) -> None:
        """Append what has gathered, in order. Decisions do it first, so that the journal keeps the book's order."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        facts, drafts = self._facts, self._drafts
        if not facts:
            return
        self._facts, self._drafts = [], []
        self._write(facts, drafts)

    def _write(self, facts: list[Fact], drafts: list[Draft]) -> None:
        try:
            future = self._writer.append(drafts)
        except (StoreError, QueueFull):
            self._keep_all(facts)
            return
        self._unsettled += 1
        future.add_done_callback(lambda done: self._noted(done, facts))

    def _catch_up(self) -> None:
        """Before a decision: whatever was folded before it."""
        if self._backlog and self._writer.available:
            self._append_backlog()
        self._write_facts()

    def _append_backlog(self) -> None:
        waiting, self._backlog = self._backlog, deque()  # bounded: BACKLOG_MAX in _keep
        for fact in waiting:
            self._append_fact(fact)

    def _noted(self, future: asyncio.Future[Committed], facts: list[Fact]) -> None:
        self._unsettled -= 1
        # After an unclear commit it may be durable: then `found` takes it out of the backlog again.
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Unavailable):
            self._keep_all(facts)
        elif error is not None and not isinstance(error, LeaseLost):
            self._refused(facts, error)

    def _refused(self, facts: list[Fact], error: BaseException) -> None:
        """PostgreSQL cannot hold one of them: the others are written without it, and people are told of it."""
        if len(facts) > 1:
            for fact in facts:
                self._write([fact], [self._draft(fact.workspace, fact.entry, None, None)])
            return
        (fact,) = facts
        if isinstance(fact.entry, AlertRaised) and fact.entry.code == "fact-not-journalled":
            return  # its own alert would say no more
        what = type(fact.entry).__name__
        text = (
            f"{what} cannot be journalled ({error}): it counts until the next start; compare its account then"
        )
        account_id = getattr(fact.entry, "account_id", "")
        self.note("", AlertRaised("fact-not-journalled", text, account_id))

    def _keep_all(self, facts: list[Fact]) -> None:
        for fact in facts:
            self._keep(fact)

    def keep(self, workspace: str, entry: Entry) -> None:
        """Journal later, when the database is back, what is in the book already and is being acted upon."""
        self._keep(Fact(self._next_turn(), workspace, entry))

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _keep(self, fact: Fact) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            self._backlog.popleft()
            self._on_broken("the backlog of facts is full: some will be missing from the journal")
        # Facts of a commit that failed come back behind newer ones: mostly none, a batch at most.
        place = len(self._backlog)
        while place and self._backlog[place - 1].turn > fact.turn:
            place -= 1
        self._backlog.insert(place, fact)
        self._retry_later()

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._flush)

    async def bring_exits(self) -> None:
        """Take what was sent without the journal into it, and before each what was folded before it: what drops a held
        close means nothing before the fact that made it held again. Raises Unavailable or LeaseLost."""
        for text in await self._exits.bring(self._writer.append, self._append_before):
            self.keep("", AlertRaised("exit-file", text))

    async def _append_before(self, turn: int) -> None:
        """They stay in the backlog until they are durable."""
        older = [fact for fact in self._backlog if fact.turn < turn]
        for start in range(0, len(older), FACTS_MAX):
            await self._append_part(older[start : start + FACTS_MAX])

    async def _append_part(self, part: list[Fact]) -> None:
        """What the journal can never hold is told and holds up nothing, no exit least of all."""
        refusal: StoreError | None = None
        try:
            await self._writer.append([self._draft(f.workspace, f.entry, None, None) for f in part])
        except (Unavailable, LeaseLost):
            raise
        except StoreError as error:
            refusal = error
        if refusal is not None and len(part) > 1:
            for fact in part:
                await self._append_part([fact])
            return
        done = {fact.turn for fact in part}
        left = (fact for fact in self._backlog if fact.turn not in done)
        self._backlog = deque(left)  # bounded: it shrinks
        if refusal is not None:
            self._refused(part, refusal)

    async def _bring(self) -> None:
        with contextlib.suppress(StoreError, QueueFull):
            await self.bring_exits()
        self._bringing = None
        if self._exits.waiting or self._backlog:
            self._retry_later()

    def _flush(self) -> None:
        self._retry = None
        if not self._writer.available or not self.accepting:
            self._retry_later()
            return
        if self._exits.waiting or self._exits.is_stale:
            if self._bringing is None:
                self._bringing = asyncio.get_running_loop().create_task(self._bring(), name="exits")
            return
        self._append_backlog()

    def refold_backlog(self) -> None:
        """After the book was read again: what the journal does not hold yet is folded on top."""
        facts = ((fact.turn, fact.entry) for fact in self._backlog)
        for _, entry in merge(self._exits.folded(), facts, key=itemgetter(0)):
            fold(self._state.book, entry)

    def _draft(
        self, workspace: str, entry: Entry, signal_id: str | None, record: IdempotencyDraft | None
    ) -> Draft:
        kind = type(entry)
        return Draft(
            KINDS[kind], kind.__name__, workspace, self._state.clock.now(), encode(entry), signal_id, record
        )

    def stop(self) -> None:
        """Append what has gathered and what waited, if it can be; no more retries."""
        self._write_facts()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._bringing is not None:
            self._bringing.cancel()
        if self._backlog and self._writer.available and not self._exits.waiting:
            waiting, self._backlog = list(self._backlog), deque()  # bounded: BACKLOG_MAX in _keep
            self._facts = waiting
            self._drafts = [self._draft(fact.workspace, fact.entry, None, None) for fact in waiting]
            self._write_facts()


def _tell(future: asyncio.Future[bool], *, told: bool) -> None:
    """Unless nobody waits any more."""
    if not future.done():
        future.set_result(told)
