"""A session on real sockets: token, stream and supervisor together, through a drop and a drain."""

import asyncio
import time
from random import Random

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.runner import RunnerPolicy, SessionPlan, SessionRunner
from brokers._kit.stream import StreamEnd, TextStream, open_stream
from brokers._kit.tokens import Issued, TokenHolder
from kopitra.ports import SessionChanged, SessionEvent
from tests.integration.kit.conftest import WireServer, until


class ToySession:
    """What an adapter is: data and small functions around the kit's parts."""

    def __init__(self, server: WireServer) -> None:
        self.server = server
        self.events: list[SessionEvent] = []
        self.texts: list[bytes] = []
        self.logins = 0
        self.ended: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self.stream: TextStream | None = None
        self.token = TokenHolder(self.log_in, clock_ns=time.monotonic_ns, rng=Random(1))
        plan = SessionPlan(
            connect=self.connect,
            login=self.authorize,
            subscribe=self.subscribe,
            reconcile=self.reconcile,
            live=self.live,
            release=self.release,
        )
        policy = RunnerPolicy(reconnect=BackoffPolicy(first_s=0.001, max_s=0.002))
        self.runner = SessionRunner(
            "toy", plan, self.events.append, clock_ns=time.monotonic_ns, rng=Random(1), policy=policy
        )

    async def log_in(self, previous: str | None) -> Issued[str]:
        self.logins += 1
        return Issued(f"token-{self.logins}", lifetime_s=60)

    async def connect(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self.texts.clear()
        self.stream = await open_stream(self.server.url, self.texts.append, self.ended.set_result)

    async def authorize(self) -> None:
        assert self.stream is not None
        self.stream.send_text(b"authorize " + (await self.token.get()).encode())

    async def subscribe(self) -> None:
        assert self.stream is not None
        self.stream.send_text(b"sync")

    async def reconcile(self) -> None:
        await until(lambda: b"snapshot" in self.texts)

    async def live(self) -> None:
        raise (await self.ended).as_error()

    async def release(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.events if isinstance(event, SessionChanged)]


async def test_a_dropped_session_comes_back_with_the_same_token_and_drains(wires: WireServer) -> None:
    wires.greet = lambda wire: wire.say(b"snapshot")
    toy = ToySession(wires)
    owner = asyncio.create_task(toy.runner.run())
    await until(lambda: toy.states[-1:] == ["live"])
    wires.wires[0].transport.disconnect(graceful=False)
    await until(lambda: toy.states.count("live") == 2)
    await until(lambda: len(wires.wires[1].heard) == 2)
    assert wires.wires[1].heard == [b"authorize token-1", b"sync"]
    await toy.runner.close(drain_s=1)
    await owner
    first_life = ["connecting", "logging_in", "reconciling", "live"]
    assert toy.states == [*first_life, "backoff", *first_life, "draining", "closed"]
    assert toy.stream is not None
    assert not toy.stream.is_open
