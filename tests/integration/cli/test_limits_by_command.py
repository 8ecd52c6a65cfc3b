"""`kopitra limits`: versions with their days, words, worked numbers, and a new start that says who and why."""

import asyncio
import json
from collections.abc import Callable

import psycopg
import pytest

from brokers import registry
from cli.logins import asked_by
from kopitra.store.config import load_config
from kopitra.store.limits import NewStartRow
from kopitra.store.pool import Database

Kopitra = Callable[..., str]
START = "--set initial_balance=50000 --set daily_loss.amount=1000 --from 2026-11-20 --verified 2026-11-19"


@pytest.fixture
def prop(kopitra: Kopitra) -> Kopitra:
    """One account."""
    broker = next(iter(registry()))
    secrets = json.dumps(dict.fromkeys(asked_by(registry()[broker]).required, "canary-limits-1"))
    kopitra("workspace create main")
    kopitra(f"login create d1 --broker {broker} --secrets-from-stdin", typed=secrets)
    kopitra("account create prop-7 --login d1 --broker-account A-1")
    return kopitra


def test_versions_are_made_shown_and_listed(prop: Kopitra) -> None:
    prop(f"limits set prop-7 {START}")
    prop(
        "limits set prop-7 --set daily_loss= --set max_loss.kind=static --set max_loss.amount=2000 --from 2026-11-23"
    )
    shown = {row["limit"]: row["says"] for row in json.loads(prop("limits show prop-7 --json"))}
    assert shown["maximum loss"] == "2,000.00 below the start balance"
    assert "daily loss" not in shown
    assert shown["counts from"] == "2026-11-23"
    listed = json.loads(prop("limits history prop-7 --json"))
    assert [row["what"] for row in listed] == ["version 2", "version 1"]
    assert listed[1]["says"].startswith("from 2026-11-20, verified 2026-11-19: daily loss 1,000.00")
    assert listed[0]["by"].startswith("cli:")


def test_numbers_are_worked_out_without_a_gateway(prop: Kopitra) -> None:
    prop(f"limits set prop-7 {START}")
    (row,) = json.loads(prop("limits explain prop-7 --balance 50000 --equity 49100 --json"))
    assert row == {
        "rule": "daily_loss", "used": "90 %", "now": "49,100.00", "warns_at": "49,300.00",
        "entries_stop_at": "49,150.00", "flattened_at": "49,050.00", "floor": "49,000.00", "then": "reducing",
    }  # fmt: skip


def test_a_new_start_needs_a_reason_and_reaches_the_gateway_s_configuration(prop: Kopitra, dsn: str) -> None:
    prop(f"limits set prop-7 {START}")
    prop("limits restart prop-7 --reason= --yes", code=2)
    prop("limits restart prop-7 --reason reset-by-the-firm --balance 50000 --yes")
    (row,) = asyncio.run(_starts(dsn))
    assert (row.account_id, row.balance, row.reason) == ("prop-7", 50_000, "reset-by-the-firm")
    with psycopg.connect(dsn) as connection:
        query = "select what, who from config_changes where what in ('limits', 'measuring start') order by change_id"
        found = connection.execute(query).fetchall()
    assert [what for what, _ in found] == ["limits", "measuring start"]
    assert all(who.startswith("cli:") for _, who in found)
    assert json.loads(prop("limits history prop-7 --json"))[0]["what"].startswith("new start")


async def _starts(dsn: str) -> tuple[NewStartRow, ...]:
    async with Database(dsn) as db:
        return (await load_config(db)).new_starts


@pytest.mark.parametrize(
    "line, code",
    [
        ("limits set prop-7 --set initial_balance=0", 2),
        ("limits set prop-7 --set daily_loss.amount=1", 2),
        ("limits set prop-7 --set initial_balance=1 --set nothing=1", 2),
        ("limits set prop-7 --set initial_balance=1 --set caps=MES:1", 2),
        ("limits set prop-7 --set initial_balance=1 --set caps=5", 2),
        ("limits set prop-7 --set initial_balance=lots", 2),
        ("limits set nobody --set initial_balance=1", 3),
        ("limits show prop-7", 3),
        ("limits explain prop-7 --balance 1", 3),
        ("limits restart prop-7 --reason x --yes", 3),
        ("limits explain prop-7 --balance much", 2),
    ],
)
def test_what_cannot_be_meant_ends_with_one_line_and_a_code(prop: Kopitra, line: str, code: int) -> None:
    prop(line, code=code)
