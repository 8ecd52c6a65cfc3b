"""A WebSocket client for broker streams: synchronous send, callback per message, own heartbeat, watchdog.

Built on picows (a third of the CPU of other clients, measured, see bench/), which leaves to its user what
this module adds: messages in fragments, silence, a bounded send buffer, and one truthful reason of the end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from ssl import SSLContext
from typing import Final, Literal, cast

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,  # pyright: ignore[reportUnknownVariableType]
)
from picows.picows import WSCloseHandshake

from brokers._kit.backoff import BackoffPolicy, backoff, told_s
from brokers._kit.budget import TRY_AGAIN_S
from kopitra.domain.errors import Disconnected, ProtocolViolation, Throttled

EndReason = Literal["peer-closed", "peer-dropped", "silent", "closed-here", "protocol", "handler-failed"]

_CLOSE_WAIT_S: Final = 1.0  #: how long a peer may take to answer our close
_WATCH_TICKS: Final = 8  #: looks at the silence per `silence_max_s`, so it is noticed at most 1/8 late

# picows writes every connect and hang-up at INFO, and at its finest level the URL with its token.
_LOG: Final = logging.getLogger("kopitra.stream")
_LOG.setLevel(logging.WARNING)


class UpgradeRefused(Disconnected):
    """The server answered the upgrade with an HTTP `status` other than 101; 401 mostly means: new token."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the stream was refused with HTTP {status}: check the address, token and quota")
        self.status = status


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`payload` is sent as a text message every `every_s`, whatever else is sent."""

    every_s: float
    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Limits of one stream. `silence_max_s`: without any frame for so long the link counts as dead."""

    connect_timeout_s: float = 10.0
    message_bytes_max: int = 16 * 1024 * 1024
    unsent_bytes_max: int = 1024 * 1024  #: beyond it `send_text` refuses: the peer does not read
    silence_max_s: float = 15.0
    heartbeat: Heartbeat | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Why a stream ended. `code` and `text` are the peer's close frame, `error` what the handler raised."""

    reason: EndReason
    code: int | None = None
    text: str = ""
    error: Exception | None = None

    def as_error(self) -> Exception:
        """What a supervisor raises: the handler's own error, or a session error that says the reason."""
        if self.error is not None:
            return self.error
        message = f"stream ended ({self.reason}, code {self.code}): {self.text or 'no text'}; connect again"
        return ProtocolViolation(message) if self.reason == "protocol" else Disconnected(message)


class TextStream(WSListener):
    """An open stream. Made by `open_stream`; every method must run on the loop's thread."""

    def __init__(
        self,
        on_text: Callable[[bytes], None],
        on_end: Callable[[StreamEnd], None],
        settings: StreamSettings,
    ) -> None:
        self._on_text = on_text
        self._on_end = on_end
        self._settings = settings
        self._transport: WSTransport | None = None
        self._open = False
        self._full = False
        self._heard = True
        self._quiet_ticks = 0
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._gone: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self._pings = 0
        self._echoes: dict[bytes, asyncio.Future[bool]] = {}  # bounded: one a caller that waits
        self._early: bytes | None = None  # an answer that stood between the fragments of a message

    # -- for the session -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def was_open(self) -> bool:
        return self._transport is not None

    def send_text(self, message: bytes) -> bool:
        """Write one text message now. False: nothing was written (closed, or the peer does not read)."""
        transport = self._transport
        if not self._open or self._full or transport is None:
            return False
        transport.send(WSMsgType.TEXT, message)
        return True

    async def wait_end(self) -> StreamEnd:
        """Until the stream ended, for whatever reason."""
        return await asyncio.shield(self._ended)

    async def echo(self, within_s: float) -> bool:
        """Ping the peer and wait for its answer: what it wrote before that was delivered by then. False: it did not
        answer in time, or the stream ended."""
        transport = self._transport
        if not self._open or transport is None:
            return False
        self._pings += 1
        payload = b"%d" % self._pings
        answer = self._echoes[payload] = asyncio.get_running_loop().create_future()
        transport.send_ping(payload)
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._echoes[payload]

    def close(self) -> None:
        """Say goodbye and stop; `on_end` is called before this returns."""
        self._end(StreamEnd("closed-here"), WSCloseCode.OK)

    async def aclose(self) -> None:
        """`close`, then wait until the socket is gone (about a second at most)."""
        self.close()
        if self._gone is not None:
            await asyncio.shield(self._gone)

    # -- picows callbacks --------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._open = True
        transport.underlying_transport.set_write_buffer_limits(high=self._settings.unsent_bytes_max)
        self._gone = asyncio.get_running_loop().create_task(_until_gone(transport))
        self._watch()
        if self._settings.heartbeat is not None:
            self._later("beat", self._settings.heartbeat.every_s, self._beat)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard = True
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin and not self._parts:
            if self._open:
                self._deliver(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._closed_by_peer(transport, frame)
        elif kind == WSMsgType.PONG:
            self._answered(frame.get_payload_as_bytes())
        elif self._open:
            self._assemble(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        handshake = cast("WSCloseHandshake | None", transport.close_handshake)
        if self._open and handshake is not None and handshake.sent is not None:
            # picows itself objected to a frame, for instance to one above the limit.
            self._end(StreamEnd("protocol", cast(int, handshake.sent.code), handshake.sent.reason))
        self._end(StreamEnd("peer-dropped"))
        for timer in self._timers.values():
            timer.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def _answered(self, payload: bytes) -> None:
        if self._parts:
            self._early = payload
            return
        answer = self._echoes.get(payload)
        if answer is not None and not answer.done():
            answer.set_result(True)

    # -- messages --------------------------------------------------------------------------------------

    def _deliver(self, message: bytes) -> None:
        try:
            self._on_text(message)
        except Exception as error:  # noqa: BLE001 - not swallowed: it travels to the supervisor in StreamEnd
            self._end(StreamEnd("handler-failed", error=error), WSCloseCode.INTERNAL_ERROR)

    def _assemble(self, frame: WSFrame) -> None:
        starts = frame.msg_type == WSMsgType.TEXT
        if frame.msg_type == WSMsgType.BINARY or starts == bool(self._parts):
            text = "a binary or misplaced frame on a text stream"
            self._end(StreamEnd("protocol", text=text), WSCloseCode.UNSUPPORTED_DATA)
            return
        self._parts.append(frame.get_payload_as_bytes())
        self._parts_bytes += len(self._parts[-1]) + 1  # an endless row of empty fragments counts too
        if self._parts_bytes > self._settings.message_bytes_max:
            text = f"a message above {self._settings.message_bytes_max} bytes"
            self._end(StreamEnd("protocol", text=text), WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            self._parts_bytes = 0
            self._deliver(message)
            if self._early is not None:
                payload, self._early = self._early, None
                self._answered(payload)

    def _closed_by_peer(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()  # the enum of picows knows no private codes (3000-4999)
        code = int.from_bytes(payload[:2]) if payload else None
        if self._open:
            text = payload[2:].decode(errors="replace")
            self._end(StreamEnd("peer-closed", code, text), WSCloseCode.OK)
        transport.disconnect()

    # -- the end -----------------------------------------------------------------------------------------

    def _end(self, end: StreamEnd, code: WSCloseCode | None = None) -> None:
        if self._ended.done():
            return
        self._open = False
        self._ended.set_result(end)
        for timer in self._timers.values():
            timer.cancel()
        for answer in self._echoes.values():
            if not answer.done():
                answer.set_result(False)
        transport = self._transport
        if transport is not None and code is not None:
            transport.send_close(code)
            self._later("linger", _CLOSE_WAIT_S, lambda: transport.disconnect(graceful=False))
        elif transport is not None:
            transport.disconnect(graceful=False)
        self._on_end(end)

    # -- timers ------------------------------------------------------------------------------------------

    def _later(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, action)

    def _beat(self) -> None:
        heartbeat = self._settings.heartbeat
        if heartbeat is not None and self._open:
            self.send_text(heartbeat.payload)
            self._later("beat", heartbeat.every_s, self._beat)

    def _watch(self) -> None:
        # Counting quiet ticks costs a frame one flag instead of one look at the clock.
        self._quiet_ticks = 0 if self._heard else self._quiet_ticks + 1
        self._heard = False
        if self._quiet_ticks >= _WATCH_TICKS:
            self._end(StreamEnd("silent", text=f"no frame for {self._settings.silence_max_s} s"))
        else:
            self._later("watch", self._settings.silence_max_s / _WATCH_TICKS, self._watch)


async def _until_gone(transport: WSTransport) -> None:
    with suppress(WSError):  # already told as the reason "protocol"
        await transport.wait_disconnected()


async def open_stream(
    url: str,
    on_text: Callable[[bytes], None],
    on_end: Callable[[StreamEnd], None],
    *,
    settings: StreamSettings | None = None,
    tls: SSLContext | None = None,
) -> TextStream:
    """Connect to `ws://` or `wss://`; redirects are not followed (they would take the token elsewhere).

    `on_text` gets each complete text message; what it raises ends the stream. `on_end` is called exactly
    once after a success. Raises Disconnected, UpgradeRefused (a Disconnected with `status`) or Throttled.
    """
    settings = settings or StreamSettings()
    stream = TextStream(on_text, on_end, settings)

    def listener(*_: object) -> TextStream:
        return stream

    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await ws_connect(
                listener,
                url,
                ssl_context=tls,
                websocket_handshake_timeout=settings.connect_timeout_s,
                logger_name=_LOG,
                enable_auto_pong=False,  # a ping must be seen here: it is a sign of life
                max_frame_size=settings.message_bytes_max,
                extra_headers=settings.headers,
                max_redirects=0,
                use_aiofastnet=False,  # measured: no faster than the loop's own transports
            )
    except WSHandshakeError as error:
        raise _refused(error) from None
    except OSError as error:
        raise Disconnected(f"cannot open the stream: {type(error).__name__}; check the network") from error
    except WSError as error:
        # Without its cause: picows quotes the URL, and some brokers take the token there.
        raise Disconnected(f"cannot open the stream: {type(error).__name__}; check the address") from None
    if not stream.was_open:  # picows calls a hang-up during the handshake a success
        raise Disconnected("the server hung up during the stream upgrade; try again")
    return stream


def _refused(error: WSHandshakeError) -> Disconnected | Throttled:
    if error.response is None:
        return Disconnected("the server's answer to the stream upgrade is no WebSocket; check the address")
    status = int(error.response.status)
    if status != 429:
        return UpgradeRefused(status)
    wait_s = told_s(error.response.headers.get("Retry-After", ""), TRY_AGAIN_S)  # exits may leave by it
    text = f"the server asks for silence (HTTP 429): the next try is in {wait_s:.0f} s"
    return Throttled(text, retry_after_s=wait_s)


async def reconnecting(
    open_one: Callable[[], Awaitable[TextStream]],
    policy: BackoffPolicy,
    rng: Random,
    *,
    stable_s: float = 5.0,
) -> AsyncIterator[TextStream]:
    """Yield an open stream, and after it ended the next one, for ever; fatal errors pass through.

    Waits with backoff after a failed connect and after a stream that lived shorter than `stable_s`.
    """
    loop = asyncio.get_running_loop()
    waits = backoff(policy, rng)
    while True:
        pause_s = 0.0
        try:
            stream = await open_one()
        except Throttled as error:
            pause_s = max(error.retry_after_s, next(waits))
        except Disconnected:
            pause_s = next(waits)
        else:
            opened_s = loop.time()
            try:
                yield stream
            finally:
                await stream.aclose()
            if loop.time() - opened_s >= stable_s:
                waits = backoff(policy, rng)
            else:
                pause_s = next(waits)
        await asyncio.sleep(pause_s)
