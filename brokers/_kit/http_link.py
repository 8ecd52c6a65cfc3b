"""One warm HTTP/1.1 connection that carries one order request at a time and never repeats it.

The answer of a request is a value: `HttpReply` (the server decided) or `Lost` (nobody knows, unless
`written` is False). Whatever goes wrong on a link closes it, so that a late answer can never be taken
for the answer of another request.
"""

import asyncio
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

LostReason = Literal[
    "timeout", "disconnected", "malformed", "oversized", "withdrawn", "waited-too-long", "closed"
]
OnReply = Callable[["HttpReply | Lost"], None]

_CHUNK_OVERHEAD: Final = 4  #: times the body limit that a chunked answer may take on the wire
_CONTINUE_BELOW: Final = 200  #: statuses 1xx are no answers (RFC 9110 section 15.2)


class HttpReply(NamedTuple):
    """A complete, well framed answer. Header names as the server spelled them; stamps are monotonic.

    A named tuple and not a frozen dataclass: one is made per order, in a quarter of the time.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    sent_ns: int
    received_ns: int

    def header(self, name: bytes) -> bytes | None:
        """First value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer. `written=False` proves that no byte left; `written=True` means the outcome is unknown."""

    reason: LostReason
    written: bool
    sent_ns: int = 0


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What one answer may weigh before the link is closed."""

    header_bytes_max: int = 16 * 1024
    body_bytes_max: int = 256 * 1024


class LinkOwner(Protocol):
    """Who hears that a link is usable again or gone. Called at most once per request, after its answer."""

    def on_link_free(self, link: "HttpLink") -> None: ...
    def on_link_gone(self, link: "HttpLink") -> None: ...


class HttpLink(asyncio.Protocol):
    """Owner: an `OrderHttpPool`. `write` when idle, then exactly one call of `on_reply`."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_clock_ns",
        "_complete",
        "_fault",
        "_headers",
        "_in_body",
        "_keep_alive",
        "_limits",
        "_on_reply",
        "_owner",
        "_parser",
        "_seen_bytes",
        "_wire_bytes_max",
        "alive",
        "free_since_ns",
        "opened_ns",
        "sent_ns",
        "tag",
        "transport",
    )

    def __init__(self, owner: LinkOwner, limits: LinkLimits, clock_ns: Callable[[], int]) -> None:
        self._owner = owner
        self._limits = limits
        self._clock_ns = clock_ns
        # Framing, extensions and trailers of a chunked answer count too, or they could grow for ever.
        self._wire_bytes_max = limits.header_bytes_max + _CHUNK_OVERHEAD * limits.body_bytes_max
        self._parser = HttpResponseParser(self)
        self._on_reply: OnReply | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._fault: LostReason | None = None
        self.transport: asyncio.Transport | None = None
        self.alive = False
        self.sent_ns = 0
        self.free_since_ns = 0
        self.opened_ns = 0
        #: key and serial of the request in flight, for the owner
        self.tag: tuple[Hashable, Hashable | None] | None = None
        self._reset()

    @property
    def busy(self) -> bool:
        """True from `write` until the answer was handed over."""
        return self._on_reply is not None

    def write(self, request: bytes, on_reply: OnReply, tag: tuple[Hashable, Hashable | None]) -> None:
        """Write one complete request; the caller has checked `alive` and `not busy`."""
        transport = self.transport
        if transport is None or self._on_reply is not None:
            raise RuntimeError("a link carries one request at a time: write only when alive and not busy")
        self._on_reply = on_reply
        self.tag = tag
        self.sent_ns = self._clock_ns()
        transport.write(request)

    def fail(self, reason: LostReason) -> None:
        """Close at once; a request in flight ends as `Lost(written=True)`."""
        if not self.alive:
            return
        self.alive = False
        if self.transport is not None:
            self.transport.abort()
        on_reply, self._on_reply = self._on_reply, None
        try:
            if on_reply is not None:
                on_reply(Lost(reason, written=True, sent_ns=self.sent_ns))
        finally:
            self._owner.on_link_gone(self)

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened_ns = self.free_since_ns = self._clock_ns()
        self.alive = True

    def data_received(self, data: bytes) -> None:
        if not self.alive:
            return
        if self._on_reply is None:
            # Bytes nobody asked for (a 408 before the close, a late answer): never match them to a request.
            self.fail("malformed")
            return
        self._seen_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fault = self._fault or "malformed"
        if self._complete:
            self._hand_over()
        elif self._fault is not None:
            self.fail(self._fault)
        elif self._seen_bytes > (self._wire_bytes_max if self._in_body else self._limits.header_bytes_max):
            self.fail("oversized")

    def eof_received(self) -> None:
        # Told one loop turn before connection_lost, so that a closed link is not picked in between. An
        # answer framed by the close itself cannot be told from a cut one: unknown.
        self.fail("disconnected")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("disconnected")

    # -- httptools callbacks (they only note what they see; decisions are made in data_received) ---------

    def on_message_begin(self) -> None:
        if self._complete:
            self._fault = "malformed"

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes_max:
            self._fault = "oversized"
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < _CONTINUE_BELOW:
            self._headers = []
            self._in_body = False
        elif self._fault is None:
            self._complete = True
            # Only true inside this callback: the parser forgets it with the end of the message.
            self._keep_alive = self._parser.should_keep_alive()

    # -- inside ----------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        now_ns = self._clock_ns()
        reply = HttpReply(
            self._parser.get_status_code(), tuple(self._headers), b"".join(self._body), self.sent_ns, now_ns
        )
        on_reply, self._on_reply = cast(OnReply, self._on_reply), None
        reusable = self._fault is None and self._keep_alive
        self._reset()
        self.free_since_ns = now_ns
        done = False
        try:
            on_reply(reply)
            done = True
        finally:
            # A callback that raised makes asyncio close this transport: do not hand it out again.
            if reusable and done and self.alive:
                self._owner.on_link_free(self)
            else:
                self.fail("disconnected")

    def _reset(self) -> None:
        self._headers = []
        self._body = []
        self._body_bytes = 0
        self._seen_bytes = 0
        self._in_body = False
        self._complete = False
        self._keep_alive = False
