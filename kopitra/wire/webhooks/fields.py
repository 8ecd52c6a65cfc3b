"""What every preset shares: words for sides and orders, the symbol, and the body that comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from kopitra.domain.instruments import Instrument, SymbolRef, UnknownSymbol, parse_symbol
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.wire.faults import BodyRefused, refuse
from kopitra.wire.webhooks.message import Message
from kopitra.wire.webhooks.settings import HookSettings

#: a signal body in the making: names of the wire
Body = dict[str, object]

SIDES: Final[Mapping[str, Side]] = {
    "buy": "buy", "long": "buy", "bullish": "buy", "b": "buy",
    "sell": "sell", "short": "sell", "bearish": "sell", "s": "sell", "sell_short": "sell",
}  # fmt: skip
_ORD_TYPES: Final[Mapping[str, OrdType]] = {
    "market": "market", "mkt": "market", "limit": "limit", "lmt": "limit", "stop": "stop", "stp": "stop",
    "stopmarket": "stop", "stop_market": "stop", "stoplimit": "stop_limit", "stop_limit": "stop_limit",
    "stplmt": "stop_limit", "stp_lmt": "stop_limit", "trailing_stop": "trailing_stop",
}  # fmt: skip
_TIMES: Final[Mapping[str, TimeInForce]] = {"day": "day", "gtc": "gtc", "ioc": "ioc", "fok": "fok"}
#: seconds and milliseconds since 1970 that stand for years 2001 to 2286
_EPOCH_S: Final = (10**9, 10**10)


@dataclass(frozen=True, slots=True)
class Reading:
    """A message on its way to a body."""

    message: Message
    settings: HookSettings
    received_at: datetime

    def symbol(self, *names: str) -> SymbolRef:
        """The product or contract that the message names. Raises BodyRefused."""
        text = self.message.word(*names)
        if text is None:
            raise refuse("missing-field", f"The message needs {names[0]}; add it.", f"/{names[0]}")
        return self.meant(text, f"/{names[0]}")

    def meant(self, text: str, pointer: str) -> SymbolRef:
        """A symbol text, mapped by the hook first. Raises BodyRefused."""
        try:
            return parse_symbol(self.settings.symbols.get(text, text), self.received_at.date())
        except UnknownSymbol as error:
            raise refuse("unknown-symbol", f"{error}.", pointer) from None

    def quantity(self, *names: str) -> Decimal:
        """Contracts of the message, or of the hook, or one."""
        return self.message.above_zero(*names) or self.settings.quantity or Decimal(1)

    def when(self, *names: str) -> Body:
        """`occurredAt`, where the hook trusts the sender's time."""
        text = self.message.word(*names) if self.settings.sender_time else None
        return {} if text is None else {"occurredAt": _moment(text, f"/{names[0]}")}


def written(ref: SymbolRef) -> str:
    """A symbol as the body says it."""
    return ref.root if ref.contract is None else ref.contract.code2


def instrument_of(ref: SymbolRef) -> Instrument:
    """The product, for its ticks."""
    return ref.instrument


def ord_type_of(message: Message, *names: str) -> OrdType:
    """Market where nothing is said. Raises BodyRefused for an unknown word."""
    word = message.choice(*names)
    if word is None:
        return "market"
    found = _ORD_TYPES.get(word)
    if found is None:
        raise unknown_word(names[0], word, "market, limit, stop or stop_limit")
    return found


def time_in_force_of(message: Message, *names: str) -> TimeInForce:
    """Day where nothing is said. Raises BodyRefused for an unknown word."""
    word = message.choice(*names)
    if word is None:
        return "day"
    found = _TIMES.get(word)
    if found is None:
        raise unknown_word(names[0], word, "day, gtc, ioc or fok")
    return found


def unknown_word(name: str, word: str, known: str) -> BodyRefused:
    """The refusal of a word that a preset does not know."""
    return refuse("unknown-value", f"{name} says {word[:40]!a}; send {known}.", f"/{name}")


def unsupported(name: str, remedy: str) -> BodyRefused:
    """The refusal of something that changes what is traded and that we cannot do."""
    return refuse("unsupported-field", f"{name} cannot be followed here: {remedy}", f"/{name}")


def resting_id(message: Message, ref: SymbolRef, *names: str) -> str:
    """The order's own id, or one per product, so that a later cancel without id finds the order."""
    return message.word(*names) or f"hook-{ref.root}"


def _moment(text: str, pointer: str) -> str:
    """RFC 3339 text, or seconds or milliseconds since 1970, as RFC 3339."""
    if text.isdecimal() and len(text) <= 13:
        number = int(text)
        seconds = number if number < _EPOCH_S[1] else number / 1000
        if number >= _EPOCH_S[0]:
            return datetime.fromtimestamp(seconds, UTC).isoformat()
    elif len(text) >= 19:
        return text if text[-1] in "zZ" or text[-6] in "+-" else text + "Z"
    raise refuse("invalid-time", "Send an RFC 3339 time, or seconds since 1970.", pointer)
