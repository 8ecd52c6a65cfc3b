"""Messages of other services, and what is heard in them."""

import json
from datetime import UTC, datetime

from kopitra.wire.webhooks.reading import read_hook
from kopitra.wire.webhooks.settings import HookSettings

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
Wanted = dict[str, object]


def heard(preset: str, message: object, settings: HookSettings | None = None) -> Wanted:
    """What a message means: the body's fields that differ from their defaults; numbers as int or Decimal."""
    raw = message if isinstance(message, bytes) else raw_of(message)
    body = read_hook(preset, "", settings or HookSettings(), raw, NOW).body
    found = body.model_dump(exclude_defaults=True, by_alias=True)
    for level in ("stopLoss", *("takeProfits",) * ("takeProfits" in found)):
        if level in found:
            found[level] = json.loads(json.dumps(found[level], default=str))
    return found


def raw_of(message: object) -> bytes:
    return message.encode() if isinstance(message, str) else json.dumps(message).encode()


def tv(
    after: str, size: str, before: str, before_size: str, action: str = "buy", contracts: str = "1"
) -> Wanted:
    return {
        "ticker": "ES1!",
        "action": action,
        "contracts": contracts,
        "market_position": after,
        "market_position_size": size,
        "prev_market_position": before,
        "prev_market_position_size": before_size,
        "price": "6000.25",
        "time": "2026-11-20T14:29:59Z",
    }


def pmt(**changes: object) -> Wanted:
    """The message that their generator writes, values as texts."""
    return {
        "symbol": "NQZ6",
        "date": "2026-11-20T14:29:58Z",
        "data": "buy",
        "quantity": "2",
        "risk_percentage": "0",
        "price": "21000",
        "tp": "0",
        "percentage_tp": "0",
        "dollar_tp": "0",
        "sl": "0",
        "percentage_sl": "0",
        "dollar_sl": "0",
        "trail": "0",
        "update_tp": "false",
        "update_sl": False,
        "token": "CANARY-TOKEN",
        "account_id": "somebody-else",
        "duplicate_position_allow": "true",
        "reverse_order_close": "true",
        "multiple_accounts": [{"token": "CANARY-TOKEN", "account_id": "9", "quantity_multiplier": 50}],
        **changes,
    }
