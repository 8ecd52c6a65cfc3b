"""From a hook's bytes to a signal body and the key under which the same message is the same signal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from kopitra.domain.signals import EXITS
from kopitra.wire.faults import from_validation, refuse
from kopitra.wire.signals import SignalBody
from kopitra.wire.webhooks import crosstrade, line, pickmytrade, traderspost, tradingview
from kopitra.wire.webhooks.fields import Body, Reading
from kopitra.wire.webhooks.message import Kind, Message, read_message
from kopitra.wire.webhooks.settings import HookSettings
from kopitra.wire.webhooks.template import InvalidTemplate, compile_template


@dataclass(frozen=True, slots=True)
class Preset:
    """A built-in reader and the kinds of message it takes."""

    read: Callable[[Reading], Body]
    kinds: frozenset[Kind]


def _own(reading: Reading) -> Body:
    return dict(reading.message.fields)


_JSON: Final[frozenset[Kind]] = frozenset({"json"})
PRESETS: Final[Mapping[str, Preset]] = {
    "tradingview": Preset(tradingview.read, frozenset({"json", "pairs"})),
    "traderspost": Preset(traderspost.read, _JSON),
    "pickmytrade": Preset(pickmytrade.read, _JSON),
    "crosstrade": Preset(crosstrade.read, frozenset({"pairs"})),
    "line": Preset(line.read, frozenset({"text"})),
    "kopitra": Preset(_own, _JSON),
}
TEMPLATE: Final = "template"


@dataclass(frozen=True, slots=True)
class HookMessage:
    """A message that was understood; `digest` is the same for the same text."""

    body: SignalBody
    digest: bytes


def read_hook(
    preset: str, template: str, settings: HookSettings, raw: bytes, received_at: datetime
) -> HookMessage:
    """What a message means. Raises BodyRefused for the message, InvalidTemplate for the hook itself."""
    message = read_message(raw)
    body = _body(preset, template, Reading(message, settings, received_at))
    try:
        signal = SignalBody.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise from_validation(error) from None
    _check_size(signal, settings)
    return HookMessage(signal, sha256(message.text.encode()).digest())


def _body(preset: str, template: str, reading: Reading) -> Body:
    if preset == TEMPLATE:
        return compile_template(template).fill(reading.message)
    found = PRESETS.get(preset)
    if found is None:
        raise InvalidTemplate(f"{preset!a} is no preset; use one of {', '.join(PRESETS)}, or template.")
    message: Message = reading.message
    if message.kind not in found.kinds:
        raise refuse(
            "unexpected-format",
            f"This webhook reads {' or '.join(sorted(found.kinds))} in the style of {preset}, and got "
            f"{message.kind}; change the message or the hook's preset.",
        )
    return found.read(reading)


def _check_size(signal: SignalBody, settings: HookSettings) -> None:
    cap = settings.quantity_max
    if cap is None or signal.quantity is None or signal.action in EXITS:
        return
    if signal.quantity > cap:
        raise refuse(
            "quantity-above-cap",
            f"This webhook takes at most {cap} contracts; send less, or raise its quantity_max.",
            "/quantity",
        )
