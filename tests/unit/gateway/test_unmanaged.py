"""Who holds something that no exit of a leader closes any more, and why."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.unmanaged import Strays, unmanaged
from kopitra.domain.book import Book, Position
from kopitra.domain.copy_rules import CopyRule, MapEntry

RULE = CopyRule("r", 1, "w", "lead", "a")
ACCOUNT = AccountConfig("a", "w", "A", "somebroker", "l", "1")
CONFIG = GatewayConfig(
    1,
    {"a": ACCOUNT},
    {"lead": LeaderConfig("lead", "w", "Lead", "boss")},
    {"l": LoginConfig("l", "w", "somebroker", {}, {})},
    {"lead": (RULE,)},
)
#: the leader without its drop copy
SILENT = LeaderConfig("lead", "w", "Lead")
ES_TO_MES = (MapEntry("ES", "MES"),)


def holding(contract: str, qty: int = 1) -> Book:
    book = Book()
    book.holdings["a", "lead"] = {contract: Position(Decimal(qty))}
    return book


def ruled(**fields: object) -> GatewayConfig:
    return replace(CONFIG, rules={"lead": (replace(RULE, **fields),)})


@pytest.mark.parametrize(
    "now, why",
    [
        (replace(CONFIG, accounts={}), "the account is switched off"),
        (replace(CONFIG, accounts={"a": replace(ACCOUNT, active=False)}), "the account is switched off"),
        (replace(CONFIG, logins={}), "its login l is switched off or cannot be read"),
        (replace(CONFIG, leaders={}), "the leader lead is switched off"),
        (replace(CONFIG, leaders={"lead": SILENT}), "the drop copy of lead from boss has ended"),
        (replace(CONFIG, rules={}), "it has no rule behind lead any more"),
        (ruled(symbol_map=ES_TO_MES), "its rule does not copy lead's ES to ES any more"),
    ],
)  # fmt: skip
def test_what_is_cut_off_is_named(now: GatewayConfig, why: str) -> None:
    assert unmanaged(holding("ESZ6"), CONFIG, now) == {("a", "lead"): why}


@pytest.mark.parametrize("pace", ["active", "close_only", "paused"])
def test_no_pace_cuts_exits_off(pace: str) -> None:
    now = ruled(pace=pace, exclude=("ES",), inverse=True)
    assert unmanaged(holding("ESZ6"), CONFIG, now) == {}


def test_who_holds_nothing_misses_nothing() -> None:
    assert unmanaged(holding("ESZ6", 0), CONFIG, replace(CONFIG, accounts={})) == {}


def test_a_map_counts_by_what_is_held() -> None:
    mapped = ruled(symbol_map=ES_TO_MES)
    assert unmanaged(holding("MESZ6"), mapped, mapped) == {}
    assert unmanaged(holding("NQZ6"), CONFIG, mapped) == {}
    assert unmanaged(holding("MESZ6"), mapped, CONFIG) == {
        ("a", "lead"): "its rule does not copy lead's ES to MES any more"
    }


def test_a_pair_is_told_once_until_it_was_well_in_between() -> None:
    said: list[tuple[str, str, str]] = []
    strays = Strays(lambda code, text, account_id: said.append((code, text, account_id)))
    off, book = replace(CONFIG, accounts={}), holding("ESZ6")
    for before, now in ((CONFIG, off), (off, off), (off, CONFIG), (CONFIG, off)):
        strays.look(book, before, now)
    assert [(code, account) for code, _, account in said] == [("exits-not-followed", "a")] * 2
