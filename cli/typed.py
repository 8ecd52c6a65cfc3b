"""`NAME=VALUE` arguments as typed domain values: any field of a rule or of an account's limits can be set."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from decimal import Decimal
from typing import Final, cast

import msgspec

from cli.rim import WRONG_ARGUMENTS, Stop
from kopitra.domain.copy_rules import CopyRule, InvalidRule
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.limits import RiskLimits
from kopitra.store.encoding import Decoder, encode

_KEYS: Final = frozenset({"rule_id", "version", "workspace", "leader", "account_id", "routes", "taken"})
#: what can be set by `--set`; sizing and rounding by their parts
RULE_FIELDS: Final = (
    "sizing.mode", "sizing.value", "rounding.mode", "rounding.minimum", "rounding.max_risk_ratio",
    *(spec.name for spec in fields(CopyRule) if spec.name not in _KEYS | {"sizing", "rounding"}),
)  # fmt: skip
LIMIT_FIELDS: Final = tuple(spec.name for spec in fields(RiskLimits))
_LISTS: Final = frozenset({"include", "exclude", "strategies", "symbols"})
_decode_rule: Final = Decoder(CopyRule)
_decode_limits: Final = Decoder(RiskLimits)


def rule_from(body: bytes) -> CopyRule:
    """A stored rule. Raises Corrupt."""
    return _decode_rule(body)


def limits_from(body: bytes) -> RiskLimits:
    """Stored limits. Raises Corrupt."""
    return _decode_limits(body or b"{}")


def changed_rule(rule: CopyRule, given: Mapping[str, str]) -> CopyRule:
    """The rule with fields set. Raises Stop naming the field at fault."""
    values = _plain(rule)
    for name, text in given.items():
        if name not in RULE_FIELDS:
            raise Stop(f"A rule has no field {name!r}; known: {', '.join(RULE_FIELDS)}.", WRONG_ARGUMENTS)
        group, _, part = name.partition(".")
        if part:
            cast("dict[str, object]", values[group])[part] = _value(text)
        else:
            values[name] = _entries(text) if name == "symbol_map" else _listed(name, text)
    try:
        made = msgspec.convert(values, CopyRule, strict=False)
    except InvalidRule as error:
        raise Stop(f"{error.message}.", WRONG_ARGUMENTS) from None
    except (msgspec.ValidationError, ValueError) as error:
        raise Stop(f"That makes no rule: {error}.", WRONG_ARGUMENTS) from None
    _check_roots(set(made.include) | set(made.exclude))
    return made


def _check_roots(roots: Set[str]) -> None:
    unknown = sorted(roots - set(INSTRUMENTS))
    if unknown:
        raise Stop(f"{unknown[0]} is no product; known: {', '.join(INSTRUMENTS)}.", WRONG_ARGUMENTS)


def changed_limits(limits: RiskLimits, given: Mapping[str, str]) -> RiskLimits:
    """The limits with fields set; an empty value lifts one. Raises Stop naming the field at fault."""
    values = _plain(limits)
    for name, text in given.items():
        if name not in LIMIT_FIELDS:
            raise Stop(f"There is no limit {name!r}; known: {', '.join(LIMIT_FIELDS)}.", WRONG_ARGUMENTS)
        values[name] = _json(name, text) if name == "allowed_hours" else _listed(name, text)
    try:
        made = msgspec.convert(values, RiskLimits, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise Stop(f"That makes no limits: {error}.", WRONG_ARGUMENTS) from None
    _check_roots(set(made.symbols))
    for name in LIMIT_FIELDS:
        value = getattr(made, name)
        if isinstance(value, Decimal | int) and value < 0:
            raise Stop(f"The limit {name} must not be negative; leave it empty to lift it.", WRONG_ARGUMENTS)
    return made


def _plain(value: object) -> dict[str, object]:
    plain = cast("dict[str, object]", msgspec.json.decode(encode(value)))
    return {name: part for name, part in plain.items() if name not in ("routes", "taken")}


def _value(text: str) -> object:
    return None if text == "" else text


def _listed(name: str, text: str) -> object:
    if name in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    return _value(text)


def _json(name: str, text: str) -> object:
    try:
        return cast("object", msgspec.json.decode(text or "[]"))
    except msgspec.DecodeError as error:
        raise Stop(
            f'{name} takes JSON such as [{{"weekdays":[0,1],"start_minute":510,"end_minute":900}}]: {error}.',
            WRONG_ARGUMENTS,
        ) from None


def _entries(text: str) -> Sequence[object]:
    """`ES:MES:10,NQ:MNQ` as map entries."""
    found: list[object] = []
    for part in filter(None, text.split(",")):
        pieces = part.strip().upper().split(":")
        if len(pieces) not in (2, 3):
            raise Stop(f"symbol_map takes FROM:TO[:RATIO], not {part!r}.", WRONG_ARGUMENTS)
        ratio = pieces[2] if len(pieces) == 3 else "1"
        found.append({"from_root": pieces[0], "to_root": pieces[1], "ratio": ratio})
    return found
