"""Templates: a signal body in which texts may hold placeholders for what the sender wrote.

    {"action": "{{ signal.kind | lower | map long=enter short=enter flat=exit }}",
     "side": "{{ signal.kind | lower | map long=buy short=sell | optional }}",
     "symbol": "{{ ticker }}", "quantity": "{{ size | abs | default 1 }}"}

    placeholder  {{ path filter* }}
    path         name(.name)*                of the sender's JSON or pairs; a number picks from an array;
                                             `text` is the whole message, `words.0` its first word
    filter       | default VALUE             when there is nothing, or nothing mapped
                 | map A=B C=D               one of these values, by exact match; else nothing
                 | lower | upper | trim | abs | negate
                 | optional                  without a value the field is left out
    VALUE, A, B  characters without spaces, or 'in single quotes'

Nothing is ever executed: there are no expressions, loops or calls. A placeholder without a value is refused.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from kopitra.wire.faults import BodyRefused, refuse
from kopitra.wire.strict_json import decode_object
from kopitra.wire.webhooks.message import Message, number_of

#: characters
TEMPLATE_LENGTH_MAX: Final = 8192
#: of one template, of one placeholder, of one map
PLACEHOLDERS_MAX: Final = 64
FILTERS_MAX: Final = 8
MAP_ENTRIES_MAX: Final = 32
#: parts of a path, and characters of a value that comes out
PATH_PARTS_MAX: Final = 8
VALUE_LENGTH_MAX: Final = 1024
#: compiled templates kept
TEMPLATES_CACHED_MAX: Final = 256
#: words of a text message that a template can pick
WORDS_MAX: Final = 64

_HOLE: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_VALUE: Final = re.compile(r"'([^']*)'|([^\s'|=]+)")
_PAIR: Final = re.compile(r"(?:'([^']*)'|([^\s'|=]+))=(?:'([^']*)'|([^\s'|=]+))")

Step = Callable[[str | None], str | None]


class InvalidTemplate(ValueError):
    """The template cannot be meant; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Hole:
    """One placeholder, compiled."""

    path: tuple[str, ...]
    steps: tuple[Step, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the body: literal parts and holes in turn."""

    parts: tuple[str | Hole, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: a body whose texts are `Text`."""

    root: Mapping[str, object]

    def fill(self, message: Message) -> dict[str, object]:
        """The signal body for a message. Raises BodyRefused naming the field."""
        return _fill_object(self.root, message, "")


@lru_cache(maxsize=TEMPLATES_CACHED_MAX)
def compile_template(source: str) -> Template:
    """Check and compile a template. Raises InvalidTemplate."""
    if len(source) > TEMPLATE_LENGTH_MAX:
        raise InvalidTemplate(f"The template is over {TEMPLATE_LENGTH_MAX} characters; shorten it.")
    if len(_HOLE.findall(source)) > PLACEHOLDERS_MAX:
        raise InvalidTemplate(f"The template has over {PLACEHOLDERS_MAX} placeholders; use fewer.")
    try:
        root = decode_object(source.encode())
    except (BodyRefused, UnicodeEncodeError) as error:
        raise InvalidTemplate(f"The template is not a JSON object: {error}") from None
    if any("{{" in name for name in root):
        raise InvalidTemplate("Names of fields cannot be placeholders; write them out.")
    return Template({name: _compile(value) for name, value in root.items()})


def _compile(value: object) -> object:
    match value:
        case str():
            return _compile_text(value)
        case dict():
            entries: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType] # JSON
            return {name: _compile(inner) for name, inner in entries.items()}
        case list():
            items: list[object] = value  # pyright: ignore[reportUnknownVariableType] # of decode_object
            return [_compile(inner) for inner in items]
        case _:
            return value


def _compile_text(text: str) -> Text:
    pieces = _HOLE.split(text)
    parts: list[str | Hole] = []
    for place, piece in enumerate(pieces):
        if place % 2:
            parts.append(_compile_hole(piece))
        elif piece:
            if "{{" in piece or "}}" in piece:
                raise InvalidTemplate(f"A placeholder is not closed in {text[:60]!a}; close it by }}}}.")
            parts.append(piece)
    return Text(tuple(parts))


def _compile_hole(text: str) -> Hole:
    head, *filters = text.split("|")
    path = head.strip()
    if _PATH.fullmatch(path) is None or path.count(".") >= PATH_PARTS_MAX:
        raise InvalidTemplate(f"{path[:60]!a} is no path; write names joined by dots.")
    if len(filters) > FILTERS_MAX:
        raise InvalidTemplate(f"{path} has over {FILTERS_MAX} filters; use fewer.")
    words = [part.strip() for part in filters]
    steps = tuple(_compile_filter(word) for word in words if word != "optional")
    return Hole(tuple(path.split(".")), steps, "optional" in words)


def _compile_filter(text: str) -> Step:
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    if name == "default":
        found = _VALUE.fullmatch(rest)
        if found is None:
            raise InvalidTemplate("default takes one value, in single quotes if it holds spaces.")
        fallback = found[1] if found[1] is not None else found[2]
        return lambda value: fallback if value is None else value
    if name == "map":
        table = _compile_map(rest)
        return lambda value: None if value is None else table.get(value)
    step = _PLAIN.get(name)
    if step is None or rest:
        raise InvalidTemplate(f"{text[:60]!a} is no filter; use one of default, map, {', '.join(_PLAIN)}.")
    return lambda value: None if value is None else step(value)


def _compile_map(text: str) -> dict[str, str]:
    table: dict[str, str] = {}
    rest = text
    while rest:
        found = _PAIR.match(rest)
        if found is None or len(table) >= MAP_ENTRIES_MAX:
            raise InvalidTemplate(f"map takes up to {MAP_ENTRIES_MAX} pairs such as long=buy short=sell.")
        quoted, plain, to_quoted, to_plain = found.groups()
        table[plain if quoted is None else quoted] = to_plain if to_quoted is None else to_quoted
        rest = rest[found.end() :].lstrip()
    if not table:
        raise InvalidTemplate("map needs pairs such as long=buy short=sell.")
    return table


def _absolute(value: str) -> str:
    return format(abs(number_of(value, "")), "f")


def _negated(value: str) -> str:
    return format(-number_of(value, ""), "f")


_PLAIN: Final[Mapping[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "trim": str.strip,
    "abs": _absolute,
    "negate": _negated,
}


def _fill_object(entries: Mapping[str, object], message: Message, pointer: str) -> dict[str, object]:
    filled: dict[str, object] = {}
    for name, inner in entries.items():
        value = _fill(inner, message, f"{pointer}/{name}")
        if value is not None:
            filled[name] = value
    return filled


def _fill(node: object, message: Message, pointer: str) -> object:
    match node:
        case Text(parts):
            return _fill_text(parts, message, pointer)
        case dict():
            entries: dict[str, object] = node  # pyright: ignore[reportUnknownVariableType] # of _compile
            return _fill_object(entries, message, pointer) or None
        case list():
            items: list[object] = node  # pyright: ignore[reportUnknownVariableType] # of _compile
            filled = [_fill(inner, message, f"{pointer}/{place}") for place, inner in enumerate(items)]
            return [value for value in filled if value is not None] or None
        case _:
            return node


def _fill_text(parts: tuple[str | Hole, ...], message: Message, pointer: str) -> str | None:
    """None when an optional placeholder has no value: the field is left out."""
    written: list[str] = []
    for part in parts:
        if isinstance(part, str):
            written.append(part)
            continue
        value = _value(part, message, pointer)
        if value is None:
            return None
        written.append(value)
    text = "".join(written)
    if len(text) > VALUE_LENGTH_MAX:
        raise refuse("invalid-length", f"A value is over {VALUE_LENGTH_MAX} characters; shorten it.", pointer)
    return text


def _value(hole: Hole, message: Message, pointer: str) -> str | None:
    value = _found(hole.path, message)
    for step in hole.steps:
        value = step(value)
    if value is None and not hole.optional:
        path = ".".join(hole.path)
        raise refuse(
            "template-value-missing",
            f"The message has nothing for {path} that the template knows; send it, or add a default.",
            pointer,
        )
    return value


def _found(path: tuple[str, ...], message: Message) -> str | None:
    """The text at a path; objects, arrays and nothing count as nothing."""
    if path == ("text",):
        return message.text[:VALUE_LENGTH_MAX]
    value: object = {"words": message.text.split()[:WORDS_MAX]} if path[0] == "words" else message.fields
    for name in path:
        value = _step_into(value, name)
    match value:
        case str() if value.strip():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal() if abs(value.adjusted()) < VALUE_LENGTH_MAX:
            return format(value, "f")
        case _:
            return None


def _step_into(value: object, name: str) -> object:
    match value:
        case Mapping():
            entries: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType] # JSON
            return entries.get(name)
        case list():
            items: list[object] = value  # pyright: ignore[reportUnknownVariableType] # JSON
            return items[int(name)] if name.isdecimal() and len(name) < 6 and int(name) < len(items) else None
        case _:
            return None
