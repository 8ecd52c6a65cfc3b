"""One socket to the vendor: open, authorize, requests with answers, and every message handed on."""

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import Final

import msgspec

from brokers._kit.stream import Heartbeat, StreamEnd, StreamSettings, TextStream, open_stream
from brokers.tradovate import frames
from brokers.tradovate.settings import TradovateSettings
from kopitra.domain.errors import Disconnected, ForcedLogout, ProtocolViolation, SessionError, Throttled

#: requests of the session itself (not orders) that may wait for an answer at once
ASKED_MAX: Final = 256
_MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024  #: a snapshot can exceed 1 MiB by far

OnItem = Callable[[frames.Item, int], None]
OnProps = Callable[[msgspec.Raw, int], None]


class Link:
    """A life of one socket. Orders use `send`; everything else uses `ask`."""

    def __init__(
        self,
        settings: TradovateSettings,
        clock_ns: Callable[[], int],
        on_item: OnItem,
        on_props: OnProps | None = None,
        after_frame: Callable[[], None] | None = None,
    ) -> None:
        """`on_item` gets other events, and answers that nobody here asked for (orders, snapshot parts)."""
        self._on_props = on_props or _ignored
        self._after_frame = after_frame
        self._settings = settings
        self._clock_ns = clock_ns
        self._on_item = on_item
        self._stream: TextStream | None = None
        self._next_id = 0
        self._asked: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._greeted = asyncio.Event()
        self._farewell = ""
        self._shutdown: frames.Shutdown | None = None

    async def open(self, url: str, tls: SSLContext | None) -> None:
        """Connect and wait for the greeting."""
        settings = StreamSettings(
            connect_timeout_s=self._settings.connect_timeout_s,
            message_bytes_max=_MESSAGE_BYTES_MAX,
            silence_max_s=self._settings.silence_s,
            heartbeat=Heartbeat(self._settings.heartbeat_s, frames.HEARTBEAT),
        )
        self._stream = await open_stream(url, self._on_text, self._on_end, settings=settings, tls=tls)
        async with asyncio.timeout(self._settings.connect_timeout_s):
            await self._greeted.wait()

    async def authorize(self, token: str) -> None:
        """Name the login; raises Disconnected when the token is not taken."""
        status, payload = await self._ask("authorize", token)
        if status != 200:
            raise TokenNotTaken(f"the socket refused the token: {frames.text_of(payload)}; log in again")

    async def ask(self, endpoint: str, body: str = "", query: str = "") -> bytes:
        """A request and its 2xx answer; raises Throttled or Disconnected for anything else."""
        status, payload = await self._ask(endpoint, body, query)
        if status in (423, 429):
            wait_s = self._settings.throttle_wait_s
            raise Throttled(f"{endpoint} was answered {status}: be silent", retry_after_s=wait_s)
        if not 200 <= status < 300:
            raise Disconnected(f"{endpoint} was answered {status}: {frames.text_of(payload)}")
        return payload

    async def _ask(self, endpoint: str, body: str = "", query: str = "") -> tuple[int, bytes]:
        if len(self._asked) >= ASKED_MAX:
            raise Throttled("too many lookups wait for an answer", retry_after_s=1.0)
        request_id = self.next_id()
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = answer
        try:
            if not self.send(frames.request(endpoint, request_id, body, query)):
                raise Disconnected(f"{endpoint} could not be written; connect again")
            async with asyncio.timeout(self._settings.connect_timeout_s):
                return await answer
        finally:
            self._asked.pop(request_id, None)

    def next_id(self) -> int:
        """Request ids begin at 1: clients that begin at 0 have stumbled over falsy zeros."""
        self._next_id += 1
        return self._next_id

    def send(self, frame: bytes) -> bool:
        """Write one frame now; False: nothing was written."""
        return self._stream is not None and self._stream.send_text(frame)

    @property
    def is_open(self) -> bool:
        return self._stream is not None and self._stream.is_open

    async def echo(self) -> None:
        """Until all that the vendor has written by now is here; without its answer no longer than a connect."""
        if self._stream is not None:
            await self._stream.echo(self._settings.connect_timeout_s)

    async def ended(self) -> SessionError:
        """Wait for the end; the error that says why."""
        if self._stream is None:
            return Disconnected("the socket was never open")
        end = await self._stream.wait_end()
        return self._reason(end)

    async def aclose(self) -> None:
        """Close the socket; whoever waits for an answer is told."""
        if self._stream is not None:
            await self._stream.aclose()

    # -- frames ------------------------------------------------------------------------------------------

    def _on_text(self, frame: bytes) -> None:
        kind = frame[:1]
        if kind == b"a":
            now_ns = self._clock_ns()
            for item in frames.parse_items(frame):
                if item.e == "props":
                    self._on_props(item.d, now_ns)
                else:
                    self._take(item, now_ns)
            if self._after_frame is not None:
                self._after_frame()
        elif kind == b"o":
            self._greeted.set()
        elif kind == b"c":
            self._farewell = frames.close_text(frame)
        elif kind != b"h":
            raise ProtocolViolation("a frame of no known kind", payload=frame[:200].decode(errors="replace"))

    def _take(self, item: frames.Item, now_ns: int) -> None:
        if item.e is None and item.i is not None:
            waiting = self._asked.get(item.i)
            if waiting is not None:
                if not waiting.done():
                    waiting.set_result((item.s, bytes(item.d)))
                return
        elif item.e == "shutdown":
            self._shutdown = frames.parse_shutdown(item.d)
        self._on_item(item, now_ns)

    def _on_end(self, end: StreamEnd) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(self._reason(end))

    def _reason(self, end: StreamEnd) -> SessionError:
        shutdown = self._shutdown
        if shutdown is not None and "Quota" in shutdown.reason_code:
            # Somebody else took the slot: coming back at once would only throw that one out again.
            wait_s = self._settings.quota_wait_s
            return ForcedLogout(f"shut down: {shutdown.reason_code}", retry_after_s=wait_s)
        if shutdown is not None:
            return Disconnected(f"shut down: {shutdown.reason_code} {shutdown.reason}".rstrip())
        error = end.as_error()
        if self._farewell:
            return Disconnected(f"the server closed: {self._farewell}")
        return (
            error
            if isinstance(error, SessionError)
            else ProtocolViolation(f"{type(error).__name__}: {error}")
        )


def _ignored(payload: msgspec.Raw, now_ns: int) -> None:
    """Entity events on a market data socket are nobody's."""


class TokenNotTaken(Disconnected):
    """The socket did not take the access token."""
