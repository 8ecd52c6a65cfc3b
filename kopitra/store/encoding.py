"""Domain values as canonical JSON bytes and back.

Frozen dataclasses become objects in field order, Decimal a string, datetime RFC 3339, tuples arrays. The same
value gives the same bytes for ever (mappings are sorted), because the journal hashes them.
"""

from typing import Generic, TypeVar

import msgspec

from kopitra.domain.errors import Corrupt

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="string")

#: `encode(value) -> bytes`, canonical JSON
encode = _encoder.encode


class Decoder(Generic[T]):
    """Reads one type. Bytes that do not fit raise Corrupt: a stored row never turns into a guess."""

    __slots__ = ("_decode", "_title")

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.json.Decoder(kind, strict=True).decode
        self._title = getattr(kind, "__name__", str(kind))

    def __call__(self, payload: bytes | str) -> T:
        try:
            return self._decode(payload)
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"A stored {self._title} does not read back: {error}. Run `kopitra verify` on the journal; "
                "if it is whole, the row was written by a build with other fields."
            ) from error
