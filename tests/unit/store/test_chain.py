"""Every field counts, and no byte can move from one to the next."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kopitra.store.chain import GENESIS, link, microseconds

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
numbers = st.integers(-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Fields:
    shard: str = "s"
    seq: int = 1
    epoch: int = 1
    at_us: int = 1
    workspace: str = "w"
    kind: str = "k"
    entry: str = "e"
    payload: bytes = b"{}"

    def hash(self, previous: bytes = GENESIS) -> bytes:
        return link(
            previous,
            shard=self.shard,
            seq=self.seq,
            epoch=self.epoch,
            at_us=self.at_us,
            workspace=self.workspace,
            kind=self.kind,
            entry=self.entry,
            payload=self.payload,
        )


rows = st.builds(Fields, texts, numbers, numbers, numbers, texts, texts, texts, st.binary(max_size=8))


@given(rows, rows)
def test_different_rows_have_different_hashes(one: Fields, other: Fields) -> None:
    assume(one != other)
    assert one.hash() != other.hash()


def test_the_hash_depends_on_the_row_before() -> None:
    assert Fields().hash() != Fields().hash(b"x" * 32)


@pytest.mark.parametrize(
    "moved", [Fields(workspace="wk", kind=""), Fields(kind="", entry="ke"), Fields(shard="sw", workspace="")]
)
def test_a_letter_moved_to_the_next_field_changes_the_hash(moved: Fields) -> None:
    assert moved.hash() != Fields().hash()


def test_the_hash_is_what_it_always_was() -> None:
    """A change here breaks every journal in the field."""
    assert Fields().hash().hex() == "5fef18f35a23b4cc8c27ec26c4b486214a6ae16059371f53984f15d765087eb5"
    assert (
        replace(Fields(), payload=b'{"a":1}').hash().hex()
        == "a1b65c37955f9c7f9f0a6357b0876e9dc4a921d17e6f7c72bff6933137ed27cc"
    )


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(at: datetime) -> None:
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(at)) == at
