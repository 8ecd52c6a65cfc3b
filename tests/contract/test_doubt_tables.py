"""Each broker's README says of doubt what its capability record says (R-009: the record is filled by cards)."""

from pathlib import Path
from typing import Final

import pytest

import brokers
from brokers import registry
from kopitra.ports import Capabilities

#: what doubt rests on
FIELDS: Final = (
    "lists_finished_orders",
    "proves_absence",
    "lists_lag_ms_max",
    "dedups_cl_ord_id",
    "dedups_for_ever",
    "closes_position",
    "reduce_only",
    "cancels_on_disconnect",
)


def table(page: str) -> dict[str, str]:
    """The rows under `<!-- table:doubt -->`: capability -> what holds here."""
    _, mark, rest = page.partition("<!-- table:doubt -->\n")
    assert mark, "the README needs a table of what holds when an order is in doubt"
    rows = [row.split("|") for row in rest.partition("\n\n")[0].splitlines()[2:]]
    return {row[1].strip(" `"): row[2].strip() for row in rows}


def shown(claimed: Capabilities, name: str) -> str:
    value = getattr(claimed, name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else "yes" if value else "no"


@pytest.mark.parametrize("code", sorted(registry()))
def test_the_readme_claims_what_the_cards_proved(code: str) -> None:
    page = (Path(brokers.__file__).parent / code / "README.md").read_text()

    claimed = registry()[code].capabilities

    assert table(page) == {name: shown(claimed, name) for name in FIELDS}


def test_a_broker_that_says_nothing_claims_nothing() -> None:
    """The defaults are the careful ones: no proof of absence, no repeat, no help with closes."""
    silent = Capabilities(
        frozenset({"market"}),
        frozenset({"day"}),
        "none",
        False,
        False,
        32,
        True,
        False,
        "stream",
        False,
        False,
    )
    assert {name for name in FIELDS if getattr(silent, name)} == set()
