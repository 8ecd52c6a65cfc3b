"""JSON schema of credentials and settings: forms and validation are built from it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from brokers.tradovate.settings import TradovateSettings


def _text(title: str, **more: object) -> dict[str, object]:
    return {"type": "string", "title": title, "maxLength": 64, **more}


SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "required": ["name", "password"],
    "additionalProperties": False,
    "properties": {
        "name": _text("Login name"),
        "password": _text("Password, or a dedicated API password", format="password"),
        "cid": _text("API key id"),
        "sec": _text("API key secret", format="password", maxLength=8192),
        **{spec.name: {"type": "string", "default": str(spec.default)} for spec in fields(TradovateSettings)},
    },
}
