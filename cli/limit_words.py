"""Loss limits between people and the domain: `NAME=VALUE` in, sentences out."""

from collections.abc import Mapping
from typing import Final, cast

import msgspec

from cli.rim import WRONG_ARGUMENTS, Stop
from cli.words import plain
from kopitra.domain.loss_ladder import Use, money
from kopitra.domain.prop_limits import (
    ALL_FAMILIES,
    Consistency,
    DailyLoss,
    GiveBack,
    InvalidLimits,
    MaxLoss,
    PropLimits,
)
from kopitra.store.encoding import Decoder, encode

#: parts of a group; an empty value of the group itself takes it away
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "reset": ("time_zone", "minute"),
    "daily_loss": ("amount", "percent", "percent_of", "counts", "measured_from"),
    "max_loss": ("kind", "amount", "lock_at", "counts"),
    "give_back": ("percent", "above"),
    "consistency": ("percent", "target", "stops"),
    "ladder": ("warn", "reduce", "lock"),
}
_SINGLE: Final = (
    "initial_balance", "caps", "max_trades_per_day", "mandatory_stop", "stale_after_ms", "mark_step",
)  # fmt: skip
FIELDS: Final = (*_SINGLE, *(f"{group}.{part}" for group, parts in _GROUPS.items() for part in parts))
_OPTIONAL: Final = frozenset({"daily_loss", "max_loss", "give_back", "consistency"})
_KEYS: Final = frozenset({"version", "effective_from", "verified_on"})
_decode: Final = Decoder(PropLimits)


def prop_from(body: bytes) -> PropLimits:
    """Stored limits. Raises Corrupt."""
    return _decode(body)


def changed_prop(limits: PropLimits | None, given: Mapping[str, str]) -> PropLimits:
    """The limits with fields set, or new ones. Raises Stop naming the field at fault."""
    values: dict[str, object] = {}
    if limits is not None:
        held = cast("dict[str, object]", msgspec.json.decode(encode(limits)))
        values = {name: part for name, part in held.items() if name not in _KEYS}
    for name, text in given.items():
        _set(values, name, text)
    try:
        return msgspec.convert(values, PropLimits, strict=False)
    except InvalidLimits as error:
        raise Stop(f"{error.message}.", WRONG_ARGUMENTS) from None
    except (msgspec.ValidationError, ValueError) as error:
        raise Stop(f"That makes no limits: {error}.", WRONG_ARGUMENTS) from None


def _set(values: dict[str, object], name: str, text: str) -> None:
    group, _, part = name.partition(".")
    if name in _OPTIONAL and text == "":
        values[name] = None
    elif name in _SINGLE:
        values[name] = _caps(text) if name == "caps" else _value(text)
    elif part in _GROUPS.get(group, ()):
        held = values.get(group)
        inner = dict(cast("dict[str, object]", held)) if isinstance(held, dict) else {}
        inner[part] = _value(text)
        values[group] = inner
    else:
        raise Stop(f"There is no limit {name!r}; known: {', '.join(FIELDS)}.", WRONG_ARGUMENTS)


def _value(text: str) -> object:
    return None if text == "" else text


def _caps(text: str) -> list[list[str]]:
    """`ES:5,*:10` as caps."""
    found: list[list[str]] = []
    for part in filter(None, text.split(",")):
        family, mark, most = part.strip().rpartition(":")
        if not mark:
            raise Stop(f"caps takes FAMILY:CONTRACTS such as ES:5,*:10, not {part!r}.", WRONG_ARGUMENTS)
        found.append([family.upper(), most])
    return found


# words -----------------------------------------------------------------------------------------------------


def lines_of(limits: PropLimits) -> list[tuple[str, str]]:
    """Each rule that there is, in words."""
    ladder = limits.ladder
    said = [
        ("initial balance", money(limits.initial_balance)),
        ("trading day ends", limits.reset.words()),
        ("daily loss", _daily(limits.daily_loss)),
        ("maximum loss", _maximum(limits.max_loss)),
        ("profit give-back", _give_back(limits.give_back)),
        ("consistency", _consistency(limits.consistency)),
        ("contracts", ", ".join(_cap(family, plain(most)) for family, most in limits.caps)),
        ("trades a day", "" if limits.max_trades_per_day is None else f"{limits.max_trades_per_day} at most"),
        ("stop", "every entry needs one" if limits.mandatory_stop else ""),
        (
            "ladder",
            f"warn at {plain(ladder.warn)} %, entries stop at {plain(ladder.reduce)} %, "
            f"flatten and lock at {plain(ladder.lock)} % of a rule",
        ),
        ("equity", f"too old after {limits.stale_after_ms / 1000:g} s while something is held"),
    ]
    return [(name, text) for name, text in said if text]


def in_one_line(limits: PropLimits) -> str:
    """The rules that can stop an account, for a table."""
    skipped = {"initial balance", "trading day ends", "ladder", "equity"}
    return "; ".join(f"{name} {text}" for name, text in lines_of(limits) if name not in skipped) or "no rule"


def _daily(rule: DailyLoss | None) -> str:
    if rule is None:
        return ""
    size = money(rule.amount) if rule.amount is not None else f"{plain(rule.percent)} % of the {_of(rule)}"
    counts = "open profit counts" if rule.counts == "equity" else "closed trades only"
    return f"{size}, from the day's first {_first(rule)}, {counts}"


def _of(rule: DailyLoss) -> str:
    return "start balance" if rule.percent_of == "start" else "day's first value"


def _first(rule: DailyLoss) -> str:
    return "balance or equity, whichever is higher" if rule.measured_from == "higher" else rule.measured_from


def _maximum(rule: MaxLoss | None) -> str:
    if rule is None:
        return ""
    below = {
        "static": "the start balance",
        "trailing_intraday": "the highest equity, open profit included",
        "trailing_eod": "the highest balance at a day's end",
    }[rule.kind]
    lock = "" if rule.lock_at is None else f", stops rising at start + {money(rule.lock_at)}"
    return f"{money(rule.amount)} below {below}{lock}"


def _give_back(rule: GiveBack | None) -> str:
    if rule is None:
        return ""
    return f"{plain(rule.percent)} % of the day's highest profit, from {money(rule.above)} on"


def _consistency(rule: Consistency | None) -> str:
    if rule is None:
        return ""
    target = "" if rule.target is None else f" (at least of the target {money(rule.target)})"
    what = "entries stop" if rule.stops else "warning only"
    return f"best day at most {plain(rule.percent)} % of the total profit{target}, {what}"


def _cap(family: str, most: str) -> str:
    return f"{most} of full size in {'all' if family == ALL_FAMILIES else family}"


def rungs(limits: PropLimits, use: Use) -> dict[str, object]:
    """One rule as it stands, and at which value each rung is."""
    ladder = limits.ladder
    at = {
        name: money(use.floor + use.amount * (100 - percent) / 100)
        for name, percent in (("warn", ladder.warn), ("reduce", ladder.reduce), ("lock", ladder.lock))
    }
    return {
        "rule": use.rule.removeprefix("limit_"),
        "used": f"{plain(use.used_percent)} %",
        "now": money(use.value),
        "warns_at": at["warn"],
        "entries_stop_at": at["reduce"],
        "flattened_at": at["lock"] if use.top == "locked" else "never",
        "floor": money(use.floor),
    }
