"""The folded book as bytes and back, a slice of work at a time, so that the event loop can do other things between.

A snapshot is a cache of this very fold and nothing else: its layout number is made from the source of the domain, so
that a build which folds otherwise ignores it and folds the journal. The bytes are a compressed pickle, because only
that keeps which indexes share which orders; reading it makes instances of the domain's own classes and of a few plain
types, and nothing else can be named in it.
"""

import io
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final, cast

import kopitra.domain as domain
from kopitra.domain.book import Book
from kopitra.domain.errors import Corrupt

#: items of a map that one slice writes or reads
SLICE_ITEMS: Final = 20
#: bytes that one slice decompresses
SLICE_BYTES: Final = 262_144
#: level of zlib: the fastest
_LEVEL: Final = 1
_PLAIN: Final = frozenset(
    {
        ("decimal", "Decimal"),
        ("datetime", "datetime"),
        ("datetime", "date"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("collections", "OrderedDict"),
        ("collections", "deque"),
        # maps made by an annotated factory remember the annotation
        ("types", "GenericAlias"),
        *(("builtins", name) for name in ("dict", "list", "tuple", "set", "frozenset", "str", "int", "bool")),
    }
)
_HOUSE: Final = "kopitra.domain."


@cache
def layout() -> int:
    """The number of this build's fold: another domain source is another layout."""
    digest = blake2b(digest_size=4)
    for path in sorted(Path(p) for found in domain.__path__ for p in Path(found).rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return int.from_bytes(digest.digest(), "big") >> 1  # fits PostgreSQL's integer


def slices(book: Book) -> Iterator[bytes]:
    """The image, part by part; the book must stand still meanwhile. Joined, the parts are the image."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    squeeze = zlib.compressobj(_LEVEL)
    for part in _parts(book):
        pickler.dump(part)
        yield squeeze.compress(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()
    yield squeeze.flush()


def _parts(book: Book) -> Iterator[object]:
    """Orders first: the indexes after them only point. (field, items) for maps, (field, value) for the rest."""
    names = sorted((spec.name for spec in fields(book)), key=lambda name: name != "orders")
    for name in names:
        value = cast("object", getattr(book, name))
        if not isinstance(value, dict):
            yield name, value
            continue
        there = cast("dict[object, object]", value)
        items = iter(there.items())
        yield name, type(there)()
        while batch := list(islice(items, 1 if name == "exec_ids" else SLICE_ITEMS)):
            yield name, batch
    yield "", None


class _Reader(pickle.Unpickler):
    """Knows the domain's classes and a few plain types."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """Raises UnpicklingError for everything else."""
        if (module_name, global_name) in _PLAIN:
            return super().find_class(module_name, global_name)
        if module_name.startswith(_HOUSE):
            found = super().find_class(module_name, global_name)
            if isinstance(found, type) and found.__module__ == module_name:
                return found
        raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a book")


def restored(image: bytes) -> Iterator[Book | None]:
    """The book, after one None for each slice of work before it. Raises Corrupt for bytes that are no image."""
    try:
        yield from _restored(image)
    except (
        pickle.UnpicklingError,
        zlib.error,
        EOFError,
        AttributeError,
        TypeError,
        ValueError,
        ImportError,
    ) as error:
        raise Corrupt(
            f"The book's snapshot does not read: {error!r}. The journal is folded instead."
        ) from error


def _restored(image: bytes) -> Iterator[Book | None]:
    plain = io.BytesIO()
    stretch = zlib.decompressobj()
    rest = image
    while rest:
        plain.write(stretch.decompress(rest, SLICE_BYTES))
        rest = stretch.unconsumed_tail
        yield None
    plain.write(stretch.flush())
    if not stretch.eof:
        raise EOFError("the image is cut off")
    plain.seek(0)
    reader, book = _Reader(plain), Book()
    known = {spec.name for spec in fields(book)}
    while True:
        name, value = cast("tuple[str, object]", reader.load())
        if name == "":
            break
        if name not in known:
            raise ValueError(f"the book has no {name}")
        if isinstance(value, list) and isinstance(there := getattr(book, name), dict):
            cast("dict[object, object]", there).update(cast("list[tuple[object, object]]", value))
        else:
            setattr(book, name, value)
        yield None
    yield book
