"""The saved book: a snapshot and the rows after it make the very book that all rows make (R-018)."""

import io
import os
import pickle
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.book import Book
from kopitra.domain.errors import Corrupt
from kopitra.domain.fold import fold
from kopitra.domain.journal import SwitchChanged
from kopitra.domain.switches import KillSwitch
from kopitra.store.book_image import SLICE_ITEMS, layout, restored, slices
from tests.unit.domain.copy_world import World, d, rule

ACTS = ("enter", "add", "reduce", "exit", "reverse", "switch", "settle")


def lived(acts: list[str]) -> World:
    """A house in which these things happened."""
    world = World([rule("a1"), rule("a2")])
    for number, act in enumerate(acts):
        if act == "switch":
            world.note(SwitchChanged(KillSwitch("account", "a2", "active", "r", "ann", number + 1)))
        elif act == "settle":
            world.settle()
        elif act == "exit":
            world.say("exit")
        else:
            world.say(act, side="buy", quantity=d(2))
    return world


def image_of(book: Book) -> bytes:
    return b"".join(slices(book))


def read(image: bytes) -> Book:
    found = [book for book in restored(image) if book is not None]
    return found[0]


def facts(book: Book) -> dict[str, object]:
    """Everything in it; a switch board tells its switches."""
    told = {name: getattr(book, name) for name in Book.__dataclass_fields__}
    return {**told, "switches": book.switches.all()}


@given(st.lists(st.sampled_from(ACTS), max_size=14), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_snapshot_and_its_tail_fold_to_the_whole(acts: list[str], cut: float) -> None:
    journal = lived(acts).journal
    at = int(len(journal) * cut)
    whole, early = Book(), Book()
    for entry in journal:
        fold(whole, entry)
    for entry in journal[:at]:
        fold(early, entry)
    again = read(image_of(early))
    assert facts(again) == facts(early)
    for entry in journal[at:]:
        fold(again, entry)
    assert facts(again) == facts(whole)
    assert [list(m) for m in again.open.values()] == [list(m) for m in whole.open.values()]


def test_indexes_share_their_orders_again() -> None:
    book = read(image_of(lived(["enter", "enter"]).book))
    children = [child for found in book.open.values() for child in found.values()]
    assert children
    assert all(child is book.orders[child.intent.cl_ord_id] for child in children)


def test_the_work_comes_in_small_slices() -> None:
    world = lived(["enter", "settle", "exit", "settle"] * 40)
    parts = list(slices(world.book))
    assert len(world.book.orders) > 4 * SLICE_ITEMS
    assert len(parts) > len(world.book.orders) / SLICE_ITEMS
    assert sum(1 for _ in restored(b"".join(parts))) >= len(parts) - 1


def spoiled(image: bytes, how: str) -> bytes:
    match how:
        case "cut":
            return image[: len(image) // 2]
        case "flipped":
            return image[:40] + b"\xff" + image[41:]
        case _:
            return how.encode()


@pytest.mark.parametrize("how", ["cut", "flipped", "", "{}"])
def test_bytes_that_are_no_image_are_refused(how: str) -> None:
    image = image_of(lived(["enter", "settle"]).book)
    with pytest.raises(Corrupt, match="folded instead"):
        read(spoiled(image, how))


class Bomb:
    """What a stranger would put into the table."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.unlink, ("/tmp/kopitra-must-not-touch-this",)


@pytest.mark.parametrize("thing", [Bomb(), fold, io.StringIO])
def test_an_image_names_nothing_but_the_domain_s_classes(thing: object) -> None:
    with pytest.raises(Corrupt, match="no place in a book"):
        read(zlib.compress(pickle.dumps(("orders", thing))))


def test_the_layout_is_this_build_s_fold() -> None:
    assert layout() == layout()
    assert 0 <= layout() < 2**31
