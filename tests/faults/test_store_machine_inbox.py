"""T-10, inbox and idempotency: signals and keys come again and again, the way to the store fails, holders change.

Whatever happens, a signal is planned once, a key has one answer for ever, what was told as durable is durable, and
what was told as refused is not (R-023, R-024, R-027, I-01). The same machine runs on both stores (H-2).
"""

import asyncio
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
)

from kopitra.domain.errors import LeaseLost, Unavailable
from kopitra.store.drafts import Committed, Duplicate, IdempotencyRecord, SignalRef
from kopitra.store.journal import JournalWriter
from tests.faults.store_hosts import HostedMachine, MemoryHost, checked, memory_host, postgres_host
from tests.faults.store_rigs import Names, Rig, fact, held, names, record, until
from tests.faults.store_writing import stored
from tests.machines import ON_POSTGRES

SIGNALS = st.sampled_from([f"s{n}" for n in range(6)])
KEYS = st.sampled_from([f"k{n}" for n in range(6)])
#: one request: a signal under a key
Request = tuple[str, str]
REQUESTS = st.lists(st.tuples(SIGNALS, KEYS), min_size=1, max_size=4)

Outcome = Committed | Duplicate | Unavailable | LeaseLost


@dataclass(slots=True)
class Model:
    """What the clients were told."""

    planned: dict[str, int] = field(default_factory=dict[str, int])
    answered: dict[str, bytes] = field(default_factory=dict[str, bytes])
    #: requests whose fate was told as unknown
    unclear: list[Request] = field(default_factory=list[Request])

    def take(self, request: Request, outcome: Outcome) -> None:
        signal, key = request
        if isinstance(outcome, Committed):
            assert signal not in self.planned
            assert key not in self.answered
            self.planned[signal] = outcome.seq
            assert outcome.answers == (b"answer %d" % outcome.seq,)
            self.answered[key] = b"answer %d" % outcome.seq
        elif isinstance(outcome, Duplicate):
            self._known(request, outcome.existing)
        elif outcome.code == "commit-unknown":
            self.unclear.append(request)

    def _known(self, request: Request, existing: IdempotencyRecord | SignalRef) -> None:
        """The first record is the one that was told, or that of a request whose fate was not."""
        signal, key = request
        if isinstance(existing, IdempotencyRecord):
            assert existing.key == key
            if key not in self.answered:
                assert key in [other for _, other in self.unclear]
                self.answered[key] = existing.body
            assert existing.body == self.answered[key]
        else:
            assert existing.signal_id == signal
            if signal not in self.planned:
                assert signal in [other for other, _ in self.unclear]
                self.planned[signal] = existing.seq
            assert existing.seq == self.planned[signal]

    async def compare(self, rig: Rig, at: Names) -> None:
        """With the store itself."""
        rows = await stored(rig, at)
        durable = {ref.signal_id: ref.seq for ref in await rig.calm.recent_signals(at.shard, 1000)}
        assert len(rows) == len(durable)
        assert self.planned.items() <= durable.items()
        assert durable.keys() - self.planned.keys() <= {signal for signal, _ in self.unclear}
        for n in range(6):
            found = await rig.calm.find_answer(at.workspace, "ea-1", "POST /signals", f"k{n}")
            if f"k{n}" in self.answered:
                assert found is not None
                assert found.body == self.answered[f"k{n}"]
            elif found is not None:
                assert f"k{n}" in [key for _, key in self.unclear]


class Inbox(HostedMachine):
    """Clients, one holder at a time, and a way to the store that fails."""

    @initialize()
    def start(self) -> None:
        self.rig = self.host.rig()
        self.at = names()
        self.model = Model()
        self.facts = 0
        self.epoch = 0
        self.old: list[JournalWriter] = []
        self.writer = self.host.run(self._take_over())

    async def _take_over(self) -> JournalWriter:
        self.epoch = await held(self.rig, self.at, f"holder {self.epoch}")
        return await JournalWriter.open(self.rig.shelf, shard=self.at.shard, epoch=self.epoch)

    def _send(self, writer: JournalWriter, request: Request) -> "asyncio.Future[Committed]":
        self.facts += 1
        return writer.append([fact(self.at, self.facts, signal=request[0], answer=record(request[1]))])

    async def _outcomes(self, requests: list[Request]) -> None:
        """Told in the order in which they were decided: who came first is told before who came again."""
        futures = [self._send(self.writer, request) for request in requests]
        told = await asyncio.gather(*futures, return_exceptions=True)
        for wanted in (Committed, Unavailable, Duplicate):
            for request, outcome in zip(requests, told, strict=True):
                assert isinstance(outcome, (Committed, Unavailable, Duplicate)), outcome
                if type(outcome) is wanted:
                    self.model.take(request, outcome)

    @rule(requests=REQUESTS)
    def clients_send(self, requests: list[Request]) -> None:
        self.host.run(self._outcomes(requests))

    @rule(requests=REQUESTS, lost=st.sampled_from(["request", "answer"]))
    def the_connection_breaks_under_a_batch(self, requests: list[Request], lost: str) -> None:
        async def broken() -> None:
            way = self.rig.way
            way.lost.clear()
            way.lose_answers, way.lose_requests = lost == "answer", lost == "request"
            sending = asyncio.ensure_future(self._outcomes(requests))
            await way.lost.wait()
            way.lose_answers = way.lose_requests = False
            way.cut()
            await sending

        self.host.run(broken())

    @precondition(lambda self: isinstance(self.host, MemoryHost))
    @rule(requests=REQUESTS, lost=st.sampled_from(["request", "answer"]))
    def an_outage_outlasts_the_patience(self, requests: list[Request], lost: str) -> None:
        """Seconds of real time on PostgreSQL, so only where time costs nothing."""

        async def broken() -> None:
            way = self.rig.way
            way.lose_answers, way.lose_requests = lost == "answer", lost == "request"
            sending = asyncio.ensure_future(self._outcomes(requests))
            await way.lost.wait()
            await self.rig.down()
            await sending
            await self.rig.up()
            await until(lambda: self.writer.available)

        self.rig.way.lost.clear()
        self.host.run(broken())

    @rule()
    def another_holder_takes_over(self) -> None:
        async def take_over() -> None:
            await self.rig.expire(self.at.shard)
            self.old.append(self.writer)
            self.writer = await self._take_over()

        self.host.run(take_over())

    @precondition(lambda self: self.old)
    @rule(request=st.tuples(SIGNALS, KEYS))
    def a_superseded_holder_still_takes_signals(self, request: Request) -> None:
        """R-084: it never makes one durable."""

        async def refused() -> bool:
            try:
                await self._send(self.old.pop(), request)
            except (LeaseLost, Unavailable):
                return True
            return False

        assert self.host.run(refused())

    @rule()
    def the_holder_restarts(self) -> None:
        async def restart() -> None:
            await self.writer.close()
            self.writer = await JournalWriter.open(self.rig.shelf, shard=self.at.shard, epoch=self.epoch)

        self.host.run(restart())

    @rule()
    def the_journal_is_read(self) -> None:
        self.host.run(self.model.compare(self.rig, self.at))

    def teardown(self) -> None:
        async def end() -> None:
            for writer in [*self.old, self.writer]:
                await writer.close()

        self.host.run(self.model.compare(self.rig, self.at))
        self.host.run(end())


def test_inbox_and_idempotency_in_memory() -> None:
    with memory_host() as host:
        checked(Inbox, host)


def test_inbox_and_idempotency_on_postgres(shared_dsn: str) -> None:
    with postgres_host(shared_dsn) as host:
        checked(Inbox, host, ON_POSTGRES)
