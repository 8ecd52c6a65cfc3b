"""The worked examples of docs/limits.md, run: what people read is what the house does (R-100, R-102)."""

import re
import shlex
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from cli.limit_words import changed_prop
from cli.rim import pairs
from kopitra.domain.prop_limits import PropLimits, PropStanding
from kopitra.domain.reset_clock import trading_day
from tests.unit.domain.copy_world import World, account, d, rule
from tests.unit.domain.limits_world import Account

PAGE = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
LADDERS = ("daily", "static", "intraday", "eod", "give-back", "consistency")
PRICES = {root: d(5000) for root in ("ES", "MES", "NQ")}


def example(name: str) -> tuple[PropLimits, list[list[str]]]:
    """The limits of the command above a table, and its rows."""
    before, mark, after = PAGE.partition(f"<!-- example:{name} -->\n")
    assert mark, f"docs/limits.md has no example {name}"
    command = re.findall(r"```sh\n(.*?)```", before, re.DOTALL)[-1].replace("\\\n", " ")
    words = shlex.split(command)
    given = [words[number + 1] for number, word in enumerate(words) if word == "--set"]
    rows = after.partition("\n\n")[0].splitlines()[2:]
    return changed_prop(None, pairs(given, "--set")), [[c.strip() for c in r.split("|")[1:-1]] for r in rows]


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").removesuffix("%").strip())


def test_every_example_of_the_page_is_run() -> None:
    assert set(re.findall(r"<!-- example:(\S+) -->", PAGE)) == {*LADDERS, "caps"}


@pytest.mark.parametrize("name", LADDERS)
def test_the_ladders_of_the_page(name: str) -> None:
    limits, rows = example(name)
    here = Account(limits)
    assert len(rows) >= 5
    for when, balance, equity, floor, used, then in rows:
        here.day = trading_day(limits.reset, datetime.fromisoformat(when).replace(tzinfo=UTC)).day
        rung = here.look(str(number(balance)), str(number(equity)))
        (use,) = here.found or (None,)
        shown = (use.floor if use is not None else None, use.used_percent if use is not None else None)
        row = f"{name}, {when}"
        assert rung == then, row
        assert (shown[0] == number(floor)) if floor else (use is None or name == "consistency"), row
        assert (shown[1] == number(used)) if used else use is None, row


def test_the_caps_of_the_page() -> None:
    limits, rows = example("caps")
    for held, order, answer in rows:
        reported = {f"{root}Z6": d(qty) for qty, root in [held.split()] if held} if held else {}
        here = World([rule()], {"a1": account(prop=PropStanding(limits), reported=reported)}, prices=PRICES)
        qty, root = order.split()
        leg = here.leg("enter", side="buy", quantity=d(qty), symbol=root)
        assert (leg.outcome if leg.outcome == "approved" else leg.detail) == answer, f"{held} + {order}"
