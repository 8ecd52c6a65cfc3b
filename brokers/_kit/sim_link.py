"""uvicorn's two protocols as the simulators need them: quiet, and with a wire that can be cut.

They keep uvicorn's global loggers as they are, so that a simulator inside another process changes nothing
there.
"""

import logging
from asyncio import Transport
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

_LOG: Final = logging.getLogger("kopitra.simulator")
_LOG.setLevel(logging.WARNING)  # uvicorn writes URLs, which hold tokens, at INFO
_CLOSE_WAIT_S: Final = 1.0  #: how long a client may take to answer our close
UNSENT_BYTES_MAX: Final = 8 * 1024 * 1024  #: a stream whose client reads slower than this is cut


class HttpLink(HttpToolsProtocol):
    """One HTTP connection. The application finds it in its scope, to cut the wire."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object]) -> None:
        super().__init__(config, server_state, {**app_state, "link": self})
        self.logger = _LOG
        self.access_log = False

    def cut(self) -> None:
        """End the connection now; bytes that still wait to be written are lost."""
        self.transport.abort()

    def hang_up(self) -> None:
        """End the connection after what was written."""
        self.transport.close()


class StreamLink(WebSocketsSansIOProtocol):
    """One WebSocket connection that can be written to without waiting."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object]) -> None:
        super().__init__(config, server_state, {**app_state, "link": self})
        self.logger = _LOG

    @property
    def is_open(self) -> bool:
        return self.handshake_complete and not (
            self.close_sent or self.disconnected or self.transport.is_closing()
        )

    def write_text(self, payload: bytes) -> bool:
        """One text message; False when the client is gone."""
        if not self.is_open:
            return False
        transport = self.transport
        transport.write(text_frame(payload))
        if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            transport.abort()
            return False
        return True

    def finish(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends with the client's answer to it."""
        if not self.is_open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_CLOSE_WAIT_S, self.transport.close)

    def cut(self) -> None:
        """End the connection now, without a close frame."""
        self.transport.abort()


def text_frame(payload: bytes) -> bytes:
    """A server's text message as one frame (RFC 6455 section 5.2; servers do not mask)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def transport_of(connection: object) -> Transport | None:
    """The wire of any connection in a ServerState."""
    transport = getattr(connection, "transport", None)
    return transport if isinstance(transport, Transport) else None
