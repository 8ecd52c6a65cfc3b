"""A sender's bytes as a message: JSON, key=value; pairs or plain text; byte-order marks are taken off."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from pydantic_core import PydanticCustomError

from kopitra.wire.faults import refuse
from kopitra.wire.scalars import decimal_of
from kopitra.wire.strict_json import decode_object

#: key=value pairs of one message
PAIRS_MAX: Final = 100
#: characters that stand for "nothing" in alert messages, besides the empty text
_NOTHING: Final = frozenset({"na", "nan", "null", "none", "undefined"})
_MARKS: Final = ((BOM_UTF8, "utf-8"), (BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be"))
_PLACEHOLDER: Final = re.compile(r"\{\{[^{}]*\}\}")

Kind = Literal["json", "pairs", "text"]


@dataclass(frozen=True, slots=True)
class Message:
    """What was sent. `fields` are those of the JSON object or of the pairs, empty for plain text."""

    kind: Kind
    text: str
    fields: Mapping[str, object]

    def word(self, *names: str) -> str | None:
        """The first of these fields that says something, as trimmed text; numbers as their digits."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, Decimal):
                return format(value, "f") if abs(value.adjusted()) < 30 else None
            if isinstance(value, str) and value.strip().lower() not in _NOTHING and value.strip():
                return value.strip()
        return None

    def choice(self, *names: str) -> str | None:
        """Like `word`, in lower case with underscores."""
        found = self.word(*names)
        return None if found is None else found.lower().replace(" ", "_").replace("-", "_")

    def flag(self, name: str, *, missing: bool) -> bool:
        """true or false, as JSON or as text. Raises BodyRefused for anything else."""
        value = self.fields.get(name)
        if isinstance(value, bool):
            return value
        match self.choice(name):
            case None:
                return missing
            case "true" | "1":
                return True
            case "false" | "0":
                return False
            case _:
                raise refuse("wrong-type", f"{name} takes true or false.", f"/{name}")

    def number(self, *names: str) -> Decimal | None:
        """The first of these fields that holds a number. Raises BodyRefused for one that is not a number."""
        for name in names:
            found = self.word(name)
            if found is not None:
                return number_of(found, f"/{name}")
        return None

    def above_zero(self, *names: str) -> Decimal | None:
        """Like `number`, where zero means "not wanted". Raises BodyRefused below zero."""
        for name in names:
            found = self.number(name)
            if found is not None and found < 0:
                raise refuse("not-above-zero", f"{name} is below zero; send a number above it.", f"/{name}")
            if found:
                return found
        return None

    def inner(self, name: str) -> "Message | None":
        """An object inside this one; None when it is absent. Raises BodyRefused for anything else."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise refuse("wrong-type", f"{name} takes a JSON object.", f"/{name}")
        return Message("json", "", value)  # pyright: ignore[reportUnknownArgumentType] # keys are str


def number_of(text: str, pointer: str) -> Decimal:
    """A number from text, thousands separators not allowed. Raises BodyRefused."""
    try:
        return decimal_of(text)
    except PydanticCustomError as error:
        raise refuse(error.type, f"{error.message()}.", pointer) from None


def read_message(raw: bytes) -> Message:
    """Bytes as a message. Raises BodyRefused: no text, no strict JSON, or placeholders that nobody filled."""
    text = _decoded(raw).strip()
    if not text:
        raise refuse("empty-message", "The message is empty; send the alert's text.")
    unfilled = _PLACEHOLDER.search(text)
    if unfilled is not None:
        shown = ascii(unfilled[0][:40])
        raise refuse("unfilled-placeholder", f"{shown} was not filled in; use a name that your sender knows.")
    if text.startswith(("{", "[")):
        return Message("json", text, decode_object(text.encode()))
    if "=" in text and (";" in text or "\n" in text):
        return Message("pairs", text, _pairs(text))
    return Message("text", text, {})


def _decoded(raw: bytes) -> str:
    encoding = "utf-8"
    for mark, name in _MARKS:
        if raw.startswith(mark):
            raw, encoding = raw[len(mark) :], name
            break
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        raise refuse("invalid-encoding", "The message is not UTF-8 text; encode it so.") from None


def _pairs(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    parts = [part.strip() for part in re.split(r"[;\n]", text)]
    for part in filter(None, parts):
        name, equals, value = part.partition("=")
        key = name.strip().lower().replace(" ", "_")
        if not equals or not key:
            raise refuse("invalid-pair", "Each part takes the form key=value; mend the one that does not.")
        if key in found:
            raise refuse("duplicate-key", f"{key[:40]!a} stands twice; send it once.")
        if len(found) >= PAIRS_MAX:
            raise refuse("too-many-pairs", f"Send at most {PAIRS_MAX} pairs.")
        found[key] = value.strip()
    return found
