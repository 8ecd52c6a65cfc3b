"""The socket's framing (vendor docs "WebSockets").

`o` open, `h` heartbeat, `a[...]` messages, `c[code,"text"]` close. A client request is
`endpoint\\nid\\nquery\\nbody`; all three newlines are always there.
"""

from typing import Final, Literal

import msgspec

from kopitra.domain.errors import ProtocolViolation

HEARTBEAT: Final = b"[]"


class Item(msgspec.Struct, frozen=True, gc=False):
    """One message: an answer (`i` request id, `s` status) or, when `e` is there, an event."""

    e: str | None = None
    s: int = 0
    i: int | None = None
    d: msgspec.Raw = msgspec.Raw()


class Props(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """One changed entity; `entity` is complete."""

    entity_type: str
    event_type: Literal["Created", "Updated", "Deleted"]
    entity: msgspec.Raw


class Shutdown(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The server is about to close, and why."""

    reason_code: str = ""
    reason: str = ""


_items = msgspec.json.Decoder(list[Item])
_props = msgspec.json.Decoder(Props)
_props_list = msgspec.json.Decoder(list[Props])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


def request(endpoint: str, request_id: int, body: bytes | str = b"", query: str = "") -> bytes:
    """One client frame."""
    head = f"{endpoint}\n{request_id}\n{query}\n".encode()
    return head + (body.encode() if isinstance(body, str) else body)


def parse_items(frame: bytes) -> list[Item]:
    """The messages of an `a` frame; raises ProtocolViolation."""
    try:
        return _items.decode(memoryview(frame)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"a frame that does not parse: {error}", payload=_shown(frame)) from None


def one_props(payload: msgspec.Raw) -> Props:
    """The common shape: one event. Raises msgspec.DecodeError for an array."""
    return _props.decode(payload)


def parse_props(payload: msgspec.Raw) -> list[tuple[Props, bytes]]:
    """(event, entity bytes) pairs; both levels may be objects or arrays. Raises msgspec.DecodeError."""
    raw = bytes(payload)
    if raw[:1] == b"{":
        props = _props.decode(raw)
        entity = bytes(props.entity)
        if entity[:1] == b"{":
            return [(props, entity)]
        events = [props]
    else:
        events = _props_list.decode(raw)
    return [(event, bytes(part)) for event in events for part in _parts(event.entity)]


def one_or_many(payload: bytes) -> list[bytes]:
    """The entities of a lookup's answer. Raises msgspec.DecodeError."""
    return [bytes(part) for part in _raws.decode(payload)] if payload[:1] == b"[" else [payload]


def _parts(entity: msgspec.Raw) -> list[msgspec.Raw]:
    return _raws.decode(entity) if bytes(entity)[:1] == b"[" else [entity]


def parse_shutdown(payload: msgspec.Raw) -> Shutdown:
    """Why the server is about to close; an unreadable one is a shutdown all the same."""
    try:
        return msgspec.json.decode(payload, type=Shutdown)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Shutdown()


def close_text(frame: bytes) -> str:
    """Code and text of a `c` frame, for the reason of the end."""
    return frame[1:200].decode(errors="replace")


def text_of(payload: bytes) -> str:
    """A string payload (answers outside 2xx), or the raw JSON."""
    try:
        return _text.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload[:200].decode(errors="replace")


def _shown(frame: bytes) -> str:
    return frame[:512].decode(errors="replace")
