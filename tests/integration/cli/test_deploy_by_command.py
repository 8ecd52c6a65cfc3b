"""The gate of a deployment and the list of builds, by command (R-088, R-089)."""

import json
from collections.abc import Callable

import psycopg
import pytest

from cli.rim import NO

Kopitra = Callable[..., str]


def unanswered(dsn: str, state: str, age_s: int) -> None:
    """An order that a gateway's projections show, as old as that."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            """insert into orders (workspace, cl_ord_id, shard, account_id, leader_id, list_id, signal_id, rule_id,
                   rule_version, order_id, symbol, side, ord_type, time_in_force, qty, ord_status, cum_qty, reason,
                   created_at, updated_at, applied_seq)
               values ('main', %s, 'main', 'f1', 'lead', 'l', 's', 'r', 1, '', 'ESZ6', 'buy', 'market', 'day', 1, %s,
                   0, '', now(), clock_timestamp() - make_interval(secs => %s), 1)""",
            (f"{state}-{age_s}", state, age_s),
        )


def changes(dsn: str, what: str) -> list[tuple[str, str, str]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select what_id, before, after from config_changes where what = %s order by change_id", (what,)
        ).fetchall()
    return [(str(a), str(b), str(c)) for a, b, c in rows]


def test_the_gate_is_open_while_nothing_is_in_the_air(kopitra: Kopitra, dsn: str) -> None:
    unanswered(dsn, "in_doubt", 5)
    unanswered(dsn, "filled", 500)
    assert kopitra("deploy-gate") == ""
    assert json.loads(kopitra("deploy-gate --json")) == [{"open": True, "overridden": False, "reasons": []}]


@pytest.mark.parametrize("state", ["claimed", "in_doubt"])
def test_the_gate_is_shut_by_an_order_without_an_answer(kopitra: Kopitra, dsn: str, state: str) -> None:
    """R-088: more than 30 s; an override is a fact with its reason."""
    unanswered(dsn, state, 45)
    said = kopitra("deploy-gate", code=NO)
    assert f"1 order(s) of f1 {state} for more than 30 s" in said
    assert changes(dsn, "deploy-gate") == []

    kopitra("deploy-gate --override hotfix")

    [(what, against, reason)] = changes(dsn, "deploy-gate")
    assert (what, json.loads(reason)) == ("override", "hotfix")
    assert json.loads(against) == [f"1 order(s) of f1 {state} for more than 30 s"]


def test_the_gate_is_shut_around_news(kopitra: Kopitra, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        times = connection.execute(
            """select to_char(now() at time zone 'utc' + make_interval(mins => m), 'YYYY-MM-DD"T"HH24:MI:SS')
               from unnest(array[10, 30, 60, 90]) as m"""
        ).fetchall()
    near, near_end, far, far_end = (str(row[0]) for row in times)
    kopitra(f"news add Later --start {far} --end {far_end}")
    kopitra("deploy-gate")
    number = kopitra(f"news add Payrolls --start {near} --end {near_end}").strip()
    assert "news: Payrolls" in kopitra("deploy-gate", code=NO)
    kopitra(f"news remove {number}")
    kopitra("deploy-gate")
    assert [w["title"] for w in json.loads(kopitra("news list --json"))] == ["Later"]
    kopitra(f"news remove {number}", code=NO)


def test_builds_are_allowed_and_forbidden_with_who_and_why(kopitra: Kopitra, dsn: str) -> None:
    """R-089: each verdict is recorded; the last allowed build cannot be forbidden by mistake."""
    kopitra("builds allow one --reason first")
    kopitra("builds forbid one --reason wrong", code=NO)
    kopitra("builds allow two")
    kopitra("builds forbid one --reason wrong")
    rows = {row["build"]: row for row in json.loads(kopitra("builds list --json"))}
    assert {name: row["allowed"] for name, row in rows.items()} == {"one": False, "two": True}
    assert rows["one"]["reason"] == "wrong"
    assert rows["one"]["who"].startswith("cli:")
    assert [what for what, _, _ in changes(dsn, "build")] == ["one", "two", "one"]
    assert json.loads(kopitra("builds running --json")) == []
