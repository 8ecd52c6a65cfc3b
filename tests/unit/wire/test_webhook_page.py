"""Every example of docs/webhooks.md means what the page says."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from kopitra.wire.webhooks import settings as hook_settings
from kopitra.wire.webhooks.reading import PRESETS, TEMPLATE, read_hook
from kopitra.wire.webhooks.settings import HookSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "webhooks.md").read_text()
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
_FENCE = re.compile(r"^```(?:json|text) (?P<kind>[a-z-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found["kind"], found["text"].strip()) for found in _FENCE.finditer(PAGE)]
#: what TradingView writes for a placeholder
WRITTEN = {
    "ticker": "ESZ2026",
    "strategy.order.action": "sell",
    "strategy.order.contracts": "2",
    "strategy.market_position": "short",
    "strategy.market_position_size": "1",
    "strategy.prev_market_position": "long",
    "strategy.prev_market_position_size": "1",
    "strategy.order.id": "Short",
    "strategy.order.comment": "",
    "close": "6000.25",
    "timenow": "2026-11-20T14:29:59Z",
}


def examples() -> list[tuple[str, str, str, str]]:
    """(preset, template, message, what it becomes) of each example."""
    found: list[tuple[str, str, str, str]] = []
    for number, (kind, text) in enumerate(BLOCKS):
        if kind == "becomes":
            before, message = BLOCKS[number - 1]
            template = BLOCKS[number - 2][1] if before == "template-message" else ""
            found.append((TEMPLATE if template else before, template, message, text))
    return found


def meant(preset: str, template: str, message: str) -> object:
    body = read_hook(preset, template, HookSettings(), message.encode(), NOW).body
    return plain(body.model_dump(exclude_defaults=True, by_alias=True))


def plain(value: object) -> object:
    """Numbers as Decimal, whatever they were written as."""
    text = json.dumps(value, default=str)
    return json.loads(re.sub(r'"(-?\d+(?:\.\d+)?)"', r"\1", text), parse_int=Decimal, parse_float=Decimal)


@pytest.mark.parametrize("preset, template, message, wanted", examples(), ids=lambda text: str(text)[:12])
def test_an_example_becomes_what_the_page_says(preset: str, template: str, message: str, wanted: str) -> None:
    assert meant(preset, template, message) == plain(json.loads(wanted))


def filled(message: str) -> str:
    """The message with TradingView's values."""
    return re.sub(r"\{\{([a-z_.]+)\}\}", lambda found: WRITTEN[found[1]], message)


def test_the_message_for_tradingview_is_understood_once_filled() -> None:
    (message,) = (filled(text) for kind, text in BLOCKS if kind == "tradingview-placeholders")

    assert meant("tradingview", "", message) == plain(
        {"action": "reverse", "symbol": "ESZ26", "side": "sell", "quantity": 1, "leaderPosition": -1}
    )


def test_the_page_has_an_example_of_every_preset_and_the_template() -> None:
    assert {preset for preset, *_ in examples()} == {*PRESETS, TEMPLATE} - {"kopitra"}


def test_the_page_lists_every_preset_and_every_setting() -> None:
    presets = set(re.findall(r"^\| `([a-z]+)` \| (?:JSON|`key|one line)", PAGE, re.MULTILINE))
    settings = PAGE.partition("<!-- table:hook-settings -->")[2].partition("\n\n")[0]

    assert presets == {*PRESETS, TEMPLATE}
    assert set(re.findall(r"^\| `([a-z_]+)` ", settings, re.MULTILINE)) == set(
        hook_settings.HookSettings.__dataclass_fields__
    )


def test_the_messages_in_the_readme_are_understood() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| `(.+)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert {preset for preset, _ in rows} == {*PRESETS} - {"kopitra"}
    assert all(meant(preset, "", filled(message)) for preset, message in rows)
