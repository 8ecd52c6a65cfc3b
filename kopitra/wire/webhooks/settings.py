"""A hook's settings, as text in the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from kopitra.wire.scalars import decimal_of

#: seconds
DUPLICATE_WINDOW_S_MAX: Final = 3600
#: symbols mapped by one hook
SYMBOLS_MAX: Final = 200


class InvalidSettings(ValueError):
    """A setting that cannot be meant; the message names it."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """What a hook adds to its sender's messages.

    `quantity`: contracts where the message names none. `quantity_max`: larger entries are refused; exits
    are not. `duplicate_window_s`: the same message within it is one signal (0: only by id). `sender_time`:
    age counts from the message's own time; leave it off for senders that stamp the bar and not the alert.
    `symbols`: the sender's name -> ours.
    """

    quantity: Decimal | None = None
    quantity_max: Decimal | None = None
    duplicate_window_s: int = 20
    sender_time: bool = False
    symbols: Mapping[str, str] = field(default_factory=dict[str, str])


def parse_settings(texts: Mapping[str, str]) -> HookSettings:
    """Settings from their texts. Raises InvalidSettings.

    quantity=1, quantity_max=10, duplicate_window_s=20, sender_time=false, symbols=US500=ES,NAS100=NQ
    """
    known = {"quantity", "quantity_max", "duplicate_window_s", "sender_time", "symbols"}
    unknown = sorted(set(texts) - known)
    if unknown:
        raise InvalidSettings(f"{unknown[0]} is no setting of a hook; use one of {', '.join(sorted(known))}.")
    return HookSettings(
        quantity=_contracts(texts, "quantity"),
        quantity_max=_contracts(texts, "quantity_max"),
        duplicate_window_s=_window(texts.get("duplicate_window_s", "20")),
        sender_time=_flag(texts.get("sender_time", "false")),
        symbols=_symbols(texts.get("symbols", "")),
    )


def _contracts(texts: Mapping[str, str], name: str) -> Decimal | None:
    text = texts.get(name, "")
    if not text:
        return None
    try:
        value = decimal_of(text)
    except ValueError:
        value = Decimal(0)
    if value <= 0:
        raise InvalidSettings(f"{name} takes a number above zero.")
    return value


def _window(text: str) -> int:
    if not text.isdecimal() or int(text[:6]) > DUPLICATE_WINDOW_S_MAX:
        raise InvalidSettings(f"duplicate_window_s takes 0 to {DUPLICATE_WINDOW_S_MAX} seconds.")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidSettings("sender_time takes true or false.")
    return text == "true"


def _symbols(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        theirs, equals, ours = pair.partition("=")
        if not (equals and theirs.strip() and ours.strip()) or len(found) >= SYMBOLS_MAX:
            raise InvalidSettings("symbols takes pairs such as US500=ES,NAS100=NQ, at most 200.")
        found[theirs.strip()] = ours.strip()
    return found
