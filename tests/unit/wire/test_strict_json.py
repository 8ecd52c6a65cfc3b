"""The strict reader agrees with the standard one where JSON has one meaning, and refuses elsewhere."""

import json
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.wire.faults import BodyRefused
from kopitra.wire.strict_json import DEPTH_MAX, decode, decode_object

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def plain(value: object) -> object:
    """Decimals as the floats that the standard reader makes."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {name: plain(inner) for name, inner in cast(dict[str, object], value).items()}
        case list():
            return [plain(inner) for inner in cast(list[object], value)]
        case _:
            return value


def depth(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, cast(dict[str, object], value).values()), default=0)
        case list():
            return 1 + max(map(depth, cast(list[object], value)), default=0)
        case _:
            return 0


@given(VALUES, st.booleans())
def test_one_meaning_is_read_as_that(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth(value) > DEPTH_MAX:
        return
    assert plain(decode(raw)) == json.loads(raw, parse_int=float)


CODES = {
    "invalid-json", "invalid-encoding", "byte-order-mark", "duplicate-key", "number-not-finite", "too-deep",
    "lone-surrogate", "number-out-of-range",
}  # fmt: skip


def code_of(raw: bytes) -> str:
    """Empty when it is read, else the code of the refusal."""
    try:
        decode(raw)
    except BodyRefused as refused:
        return refused.code
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_a_refusal(raw: bytes) -> None:
    code = code_of(raw)
    assert code in CODES | {""}
    if not code:
        json.loads(raw)


@given(st.text('{}[]":,\\u0123dDnul truefals-.eE+', max_size=80))
def test_texts_that_look_like_json_end_so_too(text: str) -> None:
    try:
        decode(text.encode())
    except BodyRefused:
        return
    json.loads(text)


@given(VALUES, st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers(0, 5))
def test_a_name_twice_is_refused_at_any_depth(value: object, name: str, levels: int) -> None:
    twice = f"{{{json.dumps(name)}:1,{json.dumps(name)}:{json.dumps(value)}}}"
    raw = ("[" * levels + twice + "]" * levels).encode()
    if depth(value) + levels + 1 > DEPTH_MAX:
        return
    with pytest.raises(BodyRefused) as refused:
        decode(raw)
    assert refused.value.code == "duplicate-key"


@given(st.integers(1, 40), st.sampled_from(["[]", "{}"]))
def test_depth_is_refused_exactly_above_the_limit(levels: int, kind: str) -> None:
    raw = ("[" * levels + "]" * levels if kind == "[]" else '{"a":' * levels + "1" + "}" * levels).encode()
    if levels <= DEPTH_MAX:
        decode(raw)
        return
    with pytest.raises(BodyRefused) as refused:
        decode(raw)
    assert refused.value.code == "too-deep"


@given(st.lists(st.integers(), min_size=17, max_size=60))
def test_many_brackets_beside_each_other_are_not_depth(numbers: list[int]) -> None:
    raw = json.dumps({str(place): [number] for place, number in enumerate(numbers)}).encode()
    assert len(decode_object(raw)) == len(numbers)


@given(st.characters(categories=["Cs"]), st.booleans())
def test_half_a_character_is_refused_in_names_and_values(half: str, in_name: bool) -> None:
    escaped = f"\\u{ord(half):04x}"
    raw = (f'{{"{escaped}":1}}' if in_name else f'{{"a":["{escaped}"]}}').encode()
    with pytest.raises(BodyRefused) as refused:
        decode(raw)
    assert refused.value.code == "lone-surrogate"


def test_numbers_are_exact() -> None:
    assert decode(b"0.1") == Decimal("0.1")
    assert decode(b"123456789012345678901234567890.123") == Decimal("123456789012345678901234567890.123")
