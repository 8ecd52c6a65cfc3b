"""Domain values as canonical JSON and back."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.errors import Corrupt
from kopitra.domain.journal import ENTRY_TYPES, Entry
from kopitra.store.encoding import Decoder, encode


@dataclass(frozen=True, slots=True)
class Leg:
    account_id: str
    qty: Decimal
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    side: Literal["buy", "sell"]
    at: datetime
    day: date
    legs: tuple[Leg, ...]
    tags: dict[str, str]
    members: frozenset[str]


@dataclass(frozen=True, slots=True)
class Opened:
    symbol: str


@dataclass(frozen=True, slots=True)
class Closed:
    symbol: str
    qty: Decimal


decimals = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12)
legs = st.builds(Leg, st.text(), decimals, st.none() | decimals)
samples = st.builds(
    Sample,
    st.sampled_from(["buy", "sell"]),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.lists(legs, max_size=4).map(tuple),
    st.dictionaries(st.text(), st.text(), max_size=4),
    st.frozensets(st.text(), max_size=4),
)
decode_sample = Decoder(Sample)


@given(samples)
def test_a_value_survives_the_journey(sample: Sample) -> None:
    assert decode_sample(encode(sample)) == sample


@given(samples)
def test_equal_values_have_equal_bytes(sample: Sample) -> None:
    turned = dict(reversed(sample.tags.items()))
    twin = Sample(sample.side, sample.at, sample.day, sample.legs, turned, frozenset(sorted(sample.members)))
    assert encode(twin) == encode(sample)


def test_decimals_keep_their_digits_and_are_texts() -> None:
    leg = Leg("a", Decimal("1.50"), Decimal("5011.250"))
    assert encode(leg) == b'{"account_id":"a","qty":"1.50","price":"5011.250"}'


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"null",
        b'{"account_id":"a"}',
        b'{"account_id":1,"qty":"1"}',
        b'{"account_id":"a","qty":"much"}',
        b'{"account_id":"a","qty":true}',
    ],
)
def test_what_does_not_fit_is_corrupt_and_not_a_guess(stored: bytes) -> None:
    with pytest.raises(Corrupt, match="Leg"):
        Decoder(Leg)(stored)


def test_a_word_outside_a_closed_list_is_corrupt() -> None:
    stored = encode(Sample("buy", datetime(2026, 1, 5, tzinfo=UTC), date(2026, 1, 5), (), {}, frozenset()))
    with pytest.raises(Corrupt):
        decode_sample(stored.replace(b'"buy"', b'"hold"'))


def test_a_column_beside_the_payload_tells_the_type() -> None:
    decoders: dict[str, Decoder[Opened] | Decoder[Closed]] = {
        "Opened": Decoder(Opened),
        "Closed": Decoder(Closed),
    }
    entries = (Opened("ESZ6"), Closed("ESZ6", Decimal(2)))
    assert tuple(decoders[type(entry).__name__](encode(entry)) for entry in entries) == entries


@pytest.mark.parametrize("entry", ENTRY_TYPES.values(), ids=ENTRY_TYPES.keys())
def test_every_entry_of_the_journal_has_a_decoder(entry: type[Entry]) -> None:
    with pytest.raises(Corrupt):
        Decoder(entry)(b"[]")
