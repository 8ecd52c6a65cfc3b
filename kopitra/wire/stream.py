"""Frames of the console's stream. Journal payloads are passed on as stored, with their names in camelCase."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from kopitra.wire.scalars import show_time

# In JSON a quote inside a string is escaped, so `"name":` can only be the name of a field.
_NAME: Final = re.compile(rb'"([a-z0-9]+(?:_[a-z0-9]+)+)":')
_PART: Final = re.compile(rb"_([a-z0-9])")


def camel_keys(payload: bytes) -> bytes:
    """Stored JSON with camelCase names; values are untouched."""
    return _NAME.sub(_camel, payload)


def _camel(found: re.Match[bytes]) -> bytes:
    return b'"' + _PART.sub(lambda part: part[1].upper(), found[1]) + b'":'


def entry_json(seq: int, at: datetime, kind: str, entry: str, payload: bytes) -> bytes:
    """One entry; kind and entry are our own words and need no escaping."""
    head = f'{{"seq":{seq},"at":"{show_time(at)}","kind":"{kind}","entry":"{entry}","payload":'
    return head.encode() + camel_keys(payload) + b"}"


def entries_frame(entries: Iterable[bytes]) -> str:
    """The frame of a batch."""
    return (b'{"type":"entries","entries":[' + b",".join(entries) + b"]}").decode()


def ping_frame(at: datetime) -> str:
    """A sign of life."""
    return f'{{"type":"ping","at":"{show_time(at)}"}}'


def resume_frame(seq: int, reason: str) -> str:
    """Read the snapshot, then connect again after `seq`; `reason` is a stable code."""
    return f'{{"type":"resume","after":{seq},"reason":"{reason}"}}'
