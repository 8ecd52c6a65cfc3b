"""One open hub connection: handshake, calls with their completions, events to a handler."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final

import msgspec

from brokers._kit.stream import Heartbeat, StreamEnd, StreamSettings, TextStream, open_stream
from brokers.projectx.hub import (
    CLOSE,
    COMPLETION,
    HANDSHAKE,
    INVOCATION,
    PING,
    HubReader,
    Message,
    invocation,
)
from brokers.projectx.settings import Settings
from kopitra.domain.errors import Disconnected, ProtocolViolation

CALLS_MAX: Final = 2_000  #: calls of one connection that wait for their completion

#: (target, arguments, received_ns)
OnEvent = Callable[[str, list[msgspec.Raw], int], None]


@dataclass(frozen=True, slots=True)
class HubEnd:
    """Why a hub is gone.

    `login_again`: the server said that this login shall not simply come back. `violation`: it said something
    that does not parse, so an event may be lost and the reconnect's reading must tell it.
    """

    reason: str
    login_again: bool
    violation: ProtocolViolation | None = None


class HubLink:
    """Made by `open_hub`."""

    def __init__(self, on_event: OnEvent, settings: Settings, clock_ns: Callable[[], int]) -> None:
        self._on_event = on_event
        self._settings = settings
        self._clock_ns = clock_ns
        self._reader = HubReader()
        self._stream: TextStream | None = None
        self._greeted = asyncio.Event()
        self._calls: dict[str, asyncio.Future[None]] = {}
        self._last_call = 0
        self._goodbye = ""
        self._login_again = False

    async def connect(self, url: str, tls: SSLContext | None) -> None:
        """Open, shake hands. Raises Disconnected (UpgradeRefused with its status) or ProtocolViolation."""
        settings = StreamSettings(
            silence_max_s=self._settings.silence_max_s,
            heartbeat=Heartbeat(self._settings.ping_s, PING),
        )
        self._stream = await open_stream(url, self._on_frame, self._on_end, settings=settings, tls=tls)
        self._stream.send_text(HANDSHAKE)
        try:
            async with asyncio.timeout(self._settings.invocation_timeout_s):
                await self._greeted.wait()
        except TimeoutError:
            await self._stream.aclose()
            raise Disconnected("the hub did not answer the handshake") from None
        if not self._reader.greeted:
            await self._stream.aclose()
            raise Disconnected(f"the hub hung up during the handshake: {self._goodbye or 'no reason given'}")

    async def call(self, target: str, *arguments: int | str) -> None:
        """Invoke a method, wait for its completion. Raises Disconnected, or ProtocolViolation."""
        if len(self._calls) >= CALLS_MAX:
            raise Disconnected(f"{CALLS_MAX} hub calls have no completion; connect again")
        self._last_call += 1
        invocation_id = str(self._last_call)
        waiting = self._calls[invocation_id] = asyncio.get_running_loop().create_future()
        try:
            if self._stream is None or not self._stream.send_text(
                invocation(invocation_id, target, *arguments)
            ):
                raise Disconnected("the hub connection is gone")
            async with asyncio.timeout(self._settings.invocation_timeout_s):
                await waiting
        except TimeoutError:
            raise Disconnected(f"the hub did not complete {target}") from None
        finally:
            self._calls.pop(invocation_id, None)

    async def ended(self) -> HubEnd:
        """Until the connection is gone."""
        if self._stream is None:
            return HubEnd("never opened", self._login_again)
        end = await self._stream.wait_end()
        reason = self._goodbye or f"{end.reason} {end.text}".strip()
        violation = end.error if isinstance(end.error, ProtocolViolation) else None
        return HubEnd(reason, self._login_again, violation)

    async def close(self) -> None:
        """Say goodbye and wait for the socket."""
        if self._stream is not None:
            await self._stream.aclose()

    def log_out(self) -> None:
        """The firm ended the login (`GatewayLogout`)."""
        self._login_again = True

    # -- frames ----------------------------------------------------------------------------------------

    def _on_frame(self, frame: bytes) -> None:
        received_ns = self._clock_ns()
        for message in self._reader.feed(frame):
            if message.type == INVOCATION:
                self._on_event(message.target, message.arguments, received_ns)
            elif message.type == COMPLETION:
                self._complete(message)
            elif message.type == CLOSE:
                self._closed_by_server(message)
        if self._reader.greeted:
            self._greeted.set()

    def _complete(self, message: Message) -> None:
        waiting = self._calls.get(message.invocation_id or "")
        if waiting is None or waiting.done():
            return
        if message.error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(ProtocolViolation(f"a hub call failed: {message.error[:300]}"))

    def _closed_by_server(self, message: Message) -> None:
        self._goodbye = (message.error or "closed by the server")[:300]
        self._login_again = self._login_again or not message.allow_reconnect
        if self._stream is not None:
            self._stream.close()

    def _on_end(self, end: StreamEnd) -> None:
        if end.error is not None:
            self._goodbye = str(end.error)[:300]
        self._greeted.set()
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(Disconnected("the hub connection ended"))
                waiting.exception()  # marks it as seen, should its caller have given up


async def open_hub(
    url: str, on_event: OnEvent, *, settings: Settings, tls: SSLContext | None, clock_ns: Callable[[], int]
) -> HubLink:
    """Connect and shake hands; raises as `HubLink.connect`."""
    link = HubLink(on_event, settings, clock_ns)
    await link.connect(url, tls)
    return link
