"""SignalR's JSON hub protocol, version 1, as two pure halves: records out of frames, frames out of calls.

Source: ASP.NET Core "SignalR Hub Protocol" (HubProtocol.md), JSON encoding. Each message is JSON and one
0x1E; a frame may carry several, and messages may follow the handshake's answer in the same frame.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from kopitra.domain.errors import ProtocolViolation

SEPARATOR: Final = b"\x1e"
HANDSHAKE: Final = b'{"protocol":"json","version":1}\x1e'
PING: Final = b'{"type":6}\x1e'
_PING_RECORD: Final = b'{"type":6}'

#: message types that this client handles; 2, 4, 5, 8 and 9 (streams, stateful reconnect) are not used here
INVOCATION: Final = 1
COMPLETION: Final = 3
CLOSE: Final = 7

RECORD_BYTES_MAX: Final = 4 * 1024 * 1024  #: longest record; depth snapshots broke caps of 1 MiB elsewhere


class Message(msgspec.Struct, gc=False, rename="camel"):
    """One hub message; which fields count depends on `type`. `arguments` stay raw until wanted."""

    type: int = 0
    target: str = ""
    arguments: list[msgspec.Raw] = []
    invocation_id: str | None = None
    error: str | None = None
    allow_reconnect: bool = False


_message = msgspec.json.Decoder(Message)


class _HandshakeReply(msgspec.Struct):
    error: str | None = None


_handshake = msgspec.json.Decoder(_HandshakeReply)


class HubReader:
    """Frames of one connection in, messages out. Pings are swallowed: arrival is liveness."""

    __slots__ = ("_greeted", "_rest")

    def __init__(self) -> None:
        self._greeted = False
        self._rest = b""

    @property
    def greeted(self) -> bool:
        """True once the server has accepted the handshake."""
        return self._greeted

    def feed(self, frame: bytes) -> Iterator[Message]:
        """The messages that end in this frame, in order. ProtocolViolation: the connection is dead."""
        if self._rest:
            frame = self._rest + frame
        *records, self._rest = frame.split(SEPARATOR)
        if len(self._rest) > RECORD_BYTES_MAX:
            raise ProtocolViolation(f"a hub record is longer than {RECORD_BYTES_MAX} bytes")
        for record in records:
            if record == _PING_RECORD or not record:
                continue
            if not self._greeted:
                self._greet(record)
                continue
            yield _decoded(record)

    def _greet(self, record: bytes) -> None:
        try:
            reply = _handshake.decode(record)
        except msgspec.MsgspecError as error:
            raise ProtocolViolation(
                "the hub's handshake reply does not parse", payload=_shown(record)
            ) from error
        if reply.error is not None:
            raise ProtocolViolation(f"the hub refused the handshake: {reply.error[:200]}")
        self._greeted = True


def _decoded(record: bytes) -> Message:
    try:
        return _message.decode(record)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation("a hub record does not parse", payload=_shown(record)) from error


def _shown(record: bytes) -> str:
    return record[:512].decode("utf-8", "replace")


def invocation(invocation_id: str, target: str, *arguments: int | str) -> bytes:
    """A call. With an id the server must complete it; without one errors would be invisible."""
    call = {"type": INVOCATION, "invocationId": invocation_id, "target": target, "arguments": list(arguments)}
    return msgspec.json.encode(call) + SEPARATOR


def connect_url(rtc_url: str, hub: str, token: str) -> str:
    """`wss://…/hubs/user?access_token=…`: no negotiation. Holds the token: never log it."""
    scheme, _, rest = rtc_url.rstrip("/").partition("://")
    secure = "wss" if scheme == "https" else "ws"
    return f"{secure}://{rest}/hubs/{hub}?access_token={quote(token, safe='')}"
