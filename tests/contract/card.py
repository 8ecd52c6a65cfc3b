"""A card of brokers/CONTRACT.md on a test: its number, and the capability without which it is skipped."""

from collections.abc import Callable

import pytest

from kopitra.ports import Capabilities

Need = Callable[[Capabilities], bool]


def card(number: str, needs: Need | None = None) -> pytest.MarkDecorator:
    """Mark a test as (a part of) a card."""
    return pytest.mark.card(number, needs)


def claim(claimed: bool, what: str) -> None:
    """Skip the rest where a broker does not claim `what`."""
    if not claimed:
        pytest.skip(f"does not claim {what}")
