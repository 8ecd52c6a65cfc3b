"""The way between a process and the store in memory: connections, delays, and everything that can go wrong on it.

A statement travels, runs as one transaction and its answer travels back. Both ways take time from a seeded random,
both can be lost, and a connection may break at any point: then the statement has committed or has not, and the caller
cannot know. The server's side of a connection outlives the client's: a statement that left is still run.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from kopitra.domain.errors import KopitraError, Unavailable
from kopitra.store.shelf import OnDown, SqlError
from tests.faults.memory_tables import Refused

#: seconds that a statement may wait for a lock, and that it may wait at all, as in PostgreSQL's session settings
LOCK_WAIT_S = 0.5


async def elapse(seconds: float) -> None:
    """Let time go by: what is simulated here takes time, and in virtual time that costs none."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    await asyncio.sleep(0)
    while (left_s := end - loop.time()) > 0:
        await asyncio.sleep(left_s)


@dataclass(slots=True)
class Weather:
    """What befalls each statement on a wire; calm as made. Rates are chances of 0 to 1."""

    random: Random = field(default_factory=lambda: Random(0))
    #: seconds from .. to, each way
    request_s: tuple[float, float] = (0.0, 0.0)
    reply_s: tuple[float, float] = (0.0, 0.0)
    #: the connection breaks before the statement arrives
    cut_before: float = 0.0
    #: the statement commits, the connection breaks before its answer arrives
    cut_after: float = 0.0
    #: the server refuses to commit (its disk is full); nothing is written
    refuse: float = 0.0
    #: what befell, by kind
    counts: Counter[str] = field(default_factory=Counter[str])

    def delay_s(self, span: tuple[float, float]) -> float:
        """Seconds of one way."""
        low, high = span
        return low if low == high else self.random.uniform(low, high)

    def fate(self) -> str:
        """What befalls the next statement; "" for nothing."""
        for name, rate in (
            ("cut_before", self.cut_before),
            ("cut_after", self.cut_after),
            ("refuse", self.refuse),
        ):
            if rate and self.random.random() < rate:
                self.counts[name] += 1
                return name
        return ""


#: the result of a transaction, or why it was rolled back
Answer = Callable[[object], None]


class Connection:
    """Both ends of one connection."""

    __slots__ = ("_on_down", "alive", "attached", "left", "name", "pending", "wire")

    def __init__(self, wire: "Wire", name: str, on_down: OnDown) -> None:
        self.wire = wire
        self.name = name
        self._on_down = on_down
        #: the client still listens
        self.attached = True
        #: the client has gone by itself: it is told nothing more
        self.left = False
        #: the server's side still runs statements
        self.alive = True
        #: statements that have left the client and are not finished
        self.pending: list[Request] = []

    def leave(self) -> None:
        """The client goes without a word; a statement that has left is still run."""
        self.attached, self.left = False, True

    def end(self, reason: str) -> None:
        """The server's side ends: nothing of it commits any more, and the client hears of it."""
        self.alive = False
        self.hang_up(reason)

    def hang_up(self, reason: str) -> None:
        """The client's side breaks."""
        if self.attached:
            self.attached = False
            asyncio.get_running_loop().call_soon(self._tell, reason)

    def _tell(self, reason: str) -> None:
        if not self.left:
            self._on_down(reason)


@dataclass(slots=True)
class Request:
    """A statement on its way. `locks`: the shard whose lease row it locks, "" for none."""

    connection: Connection
    locks: str
    work: Callable[[], object]
    answer: Answer
    fate: str = ""
    given_up: asyncio.TimerHandle | None = None


#: hands a request that has arrived to the server
Serve = Callable[[Request], None]


class Wire:
    """The way of one process to the store, and its faults."""

    def __init__(self, serve: Serve, opened: Callable[[Connection], None], weather: Weather) -> None:
        self._serve = serve
        self._opened = opened
        self.weather = weather
        self.is_up = True
        #: the process is dead: it hears nothing and can ask nothing
        self.crashed = False
        self.lose_requests = False
        self.lose_answers = False
        #: connections that were made
        self.served = 0
        #: set when something was lost
        self.lost = asyncio.Event()
        self._connections: list[Connection] = []
        #: what waits while the wire is held, in order
        self._held: list[Callable[[], None]] | None = None

    # faults, on command ------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break every connection; new ones may be made at once."""
        for connection in self._connections:
            connection.hang_up("the connection was cut")
        self._connections.clear()

    def down(self) -> None:
        """Break every connection and refuse new ones."""
        self.is_up = False
        self.cut()

    def up(self) -> None:
        """Everything gets through again."""
        self.is_up, self.lose_requests, self.lose_answers = True, False, False
        self.release()

    def hold(self) -> None:
        """Nothing gets through and nothing breaks: everything waits on the wire."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """What waited goes on, in order."""
        held, self._held = self._held or [], None
        for going_on in held:
            going_on()

    def crash(self) -> None:
        """The process dies: it hears nothing more; what has left it still arrives."""
        self.crashed, self.is_up = True, False
        for connection in self._connections:
            connection.leave()
        self._connections.clear()

    # traffic -----------------------------------------------------------------------------------------------

    def connect(self, name: str, on_down: OnDown) -> Connection:
        """A new connection. Raises Unavailable while the wire is down."""
        if not self.is_up:
            raise Unavailable("The store in memory does not answer: its wire is down.")
        self.served += 1
        connection = Connection(self, name, on_down)
        self._connections = [known for known in self._connections if known.attached]
        self._connections.append(connection)
        self._opened(connection)
        return connection

    @property
    def is_held(self) -> bool:
        """Everything waits on the wire."""
        return self._held is not None

    def send(self, request: Request) -> None:
        """Put a statement on the way."""
        if not request.connection.attached:
            return
        weather = self.weather
        request.fate = weather.fate()
        if request.fate == "cut_before":
            request.connection.hang_up("the connection broke before the statement arrived")
            return
        request.connection.pending.append(request)
        self._after(weather.delay_s(weather.request_s), lambda: self._arrive(request))

    def _after(self, delay_s: float, then: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if delay_s:
            loop.call_later(delay_s, then)
        else:
            loop.call_soon(then)

    def _arrive(self, request: Request) -> None:
        if self._held is not None:
            self._held.append(lambda: self._arrive(request))
        elif self.lose_requests:
            request.connection.pending.remove(request)
            self.lost.set()
        else:
            self._serve(request)

    def reply(self, request: Request, result: object) -> None:
        """Put an answer on the way back."""
        request.connection.pending.remove(request)
        if request.fate == "cut_after":
            request.connection.hang_up("the connection broke before the answer arrived")
            return
        self._after(self.weather.delay_s(self.weather.reply_s), lambda: self._deliver(request, result))

    def _deliver(self, request: Request, result: object) -> None:
        if self._held is not None:
            self._held.append(lambda: self._deliver(request, result))
        elif self.lose_answers:
            self.lost.set()
        elif request.connection.attached:
            if isinstance(result, SqlError) and result.fatal:
                request.connection.hang_up(result.message)
            else:
                request.answer(result)


def run(request: Request) -> object:
    """The transaction itself: its result, or the error that rolled it back."""
    if request.fate == "refuse":
        return SqlError("53100", "", "could not extend file: No space left on device", fatal=False)
    try:
        return request.work()
    except Refused as refused:
        return refused.error
    except KopitraError as error:  # the statement's own verdict, as a caller of PostgreSQL gets it
        return error
