"""The scalar types of the wire: exact numbers, times with a zone, bounded printable text."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

_ZERO: Final = Decimal(0)
#: powers of ten before and after the point
MAGNITUDE_MAX: Final = 12
#: the largest whole number that every JSON reader keeps exactly
SEQUENCE_MAX: Final = 2**53
#: characters of a number, so that normalising is exact in Decimal's 28 digits
NUMBER_LENGTH_MAX: Final = 27
#: number texts remembered: quantities and prices come again and again
NUMBERS_CACHED_MAX: Final = 4096

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,13}(?:\.[0-9]{1,12})?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Shape(BaseModel):
    """A body that somebody sends us: strict, nothing unknown, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, alias_generator=to_camel)


class Answer(BaseModel):
    """A body that we send: built by field name, written in camelCase."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True
    )


def decimal_of(value: object) -> Decimal:
    """A Decimal from a JSON number (already Decimal) or a decimal string, without trailing zeros."""
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, Decimal):
        raise PydanticCustomError("wrong-type", "Send a number or a decimal string")
    return _plain(value)


@lru_cache(maxsize=NUMBERS_CACHED_MAX)
def _from_text(text: str) -> Decimal:
    if _NUMBER.fullmatch(text) is None:
        raise PydanticCustomError(
            "invalid-number", 'Send a number such as 4500.25 or "4500.25", with at most 12 decimals'
        )
    return _plain(Decimal(text))


def _plain(value: Decimal) -> Decimal:
    if not (
        value.is_finite()
        and -MAGNITUDE_MAX <= value.adjusted() <= MAGNITUDE_MAX
        and len(str(value)) <= NUMBER_LENGTH_MAX
    ):
        raise PydanticCustomError(
            "number-out-of-range", "Send a number of at most 13 digits before the point and 12 after it"
        )
    return value.normalize() + _ZERO


def _above_zero(value: object) -> Decimal:
    number = decimal_of(value)
    if number <= 0:
        raise PydanticCustomError("not-above-zero", "Send a number above zero")
    return number


def _share(value: object) -> Decimal:
    number = decimal_of(value)
    if not 0 < number <= 1:
        raise PydanticCustomError("invalid-share", "Send a share above 0, at most 1: 0.5 closes half")
    return number


def _sequence(value: object) -> int:
    if isinstance(value, Decimal) and 1 <= value <= SEQUENCE_MAX and value == value.to_integral_value():
        return int(value)
    raise PydanticCustomError("invalid-sequence", "Send a whole number from 1 to 9007199254740992")


def time_of(value: object) -> datetime:
    """An aware UTC time from RFC 3339 text."""
    if isinstance(value, str) and _TIME.fullmatch(value) is not None:
        try:
            parsed = datetime.fromisoformat(value)
            return parsed if parsed.tzinfo is UTC else parsed.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError(
        "invalid-time", "Send an RFC 3339 time with its zone, such as 2026-11-20T14:30:00.000Z"
    )


def show_decimal(value: Decimal) -> str:
    """Plain digits, never an exponent."""
    return format(value, "f")


def show_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_NUMBER_SCHEMA: Final = WithJsonSchema(
    {
        "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9]{1,13}(\.[0-9]{1,12})?$"}],
        "description": "A JSON number or a decimal string; at most 13 digits before and 12 after the point.",
    },
    mode="validation",
)
_TIME_SCHEMA: Final = WithJsonSchema({"type": "string", "format": "date-time"})

Number = Annotated[Decimal, BeforeValidator(decimal_of), _NUMBER_SCHEMA]
Positive = Annotated[Decimal, BeforeValidator(_above_zero), _NUMBER_SCHEMA]
Share = Annotated[Decimal, BeforeValidator(_share), _NUMBER_SCHEMA]
SequenceNumber = Annotated[
    int,
    BeforeValidator(_sequence),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": SEQUENCE_MAX}, mode="validation"),
]
Time = Annotated[datetime, BeforeValidator(time_of), _TIME_SCHEMA]

NumberOut = Annotated[
    Decimal, PlainSerializer(show_decimal), WithJsonSchema({"type": "string"}, mode="serialization")
]
TimeOut = Annotated[datetime, PlainSerializer(show_time), _TIME_SCHEMA]

#: ids and names: visible ASCII, they stand in paths and logs
IdText = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:@+=-]+$")]
#: ids of other systems: any printable ASCII
ForeignId = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[ -~]+$")]
SymbolText = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[ -~]+$")]
#: text for people: no control characters
Note = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
