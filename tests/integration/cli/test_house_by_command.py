"""A house furnished by commands alone: what is created is listed, what is secret is shown once."""

import json
from collections.abc import Callable

import psycopg
import pytest

from brokers import registry
from cli.logins import asked_by

Kopitra = Callable[..., str]
SECRET = "canary-Jq7-do-not-show"


@pytest.fixture
def furnished(kopitra: Kopitra) -> Kopitra:
    """A workspace with a login, a leader and two followers."""
    broker = next(iter(registry()))
    secrets = json.dumps(dict.fromkeys(asked_by(registry()[broker]).required, SECRET))
    kopitra("workspace create main")
    kopitra(f"login create d1 --broker {broker} --secrets-from-stdin", typed=secrets)
    kopitra("account create boss --login d1 --broker-account B-1")
    kopitra("leader create lead --account boss")
    kopitra("follower create f1 --leader lead --login d1 --broker-account A-1 --sizing fixed:2")
    kopitra("account create f2 --login d1 --broker-account A-2 --limit daily_loss=500")
    kopitra("rule create lead f2 --set symbol_map=ES:MES:10")
    return kopitra


def test_followers_are_listed_with_their_rules_in_words(furnished: Kopitra) -> None:
    listed = json.loads(furnished("follower list --json"))
    assert [(row["account"], row["copies"]) for row in listed] == [
        ("f1", "fixed 2"),
        ("f2", "1 x leader, ES->MES 1:10"),
    ]


def test_a_change_is_a_new_version_that_says_who_made_it(furnished: Kopitra) -> None:
    furnished("follower change f1 --leader lead --pace close_only")
    furnished("rule change lead-f1 --sizing multiplier:0.5")
    versions = json.loads(furnished("rule versions lead-f1 --json"))
    assert [row["copies"] for row in versions] == [
        "0.5 x leader, close only",
        "fixed 2, close only",
        "fixed 2",
    ]
    assert all(row["by"].startswith("cli:") for row in versions)
    assert json.loads(furnished("rule show lead-f1"))["sizing"] == {"mode": "multiplier", "value": "0.5"}


def test_limits_change_and_an_account_is_switched_off(furnished: Kopitra) -> None:
    furnished("account change f2 --limit daily_loss= --limit max_order_qty=3 --off")
    row = next(r for r in json.loads(furnished("account list --json")) if r["account"] == "f2")
    assert (row["limits"], row["on"]) == ("max order qty 3", False)


def test_a_leader_cannot_come_to_follow_itself(furnished: Kopitra) -> None:
    said = furnished("rule create lead boss", code=3)
    assert "circular" in said


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(furnished: Kopitra) -> None:
    issued = json.loads(furnished("key issue lead --account 50K-1"))
    listed = furnished("key list --json")
    assert issued["token"].startswith(f"kpt_{issued['key']}_")
    assert issued["token"] not in listed
    assert json.loads(listed)[0]["valid"] is True
    furnished(f"key revoke {issued['key']} --yes")
    assert json.loads(furnished("key list --json"))[0]["valid"] is False
    furnished("key revoke nonsense --yes", code=1)


def test_a_rotated_key_has_a_successor(furnished: Kopitra) -> None:
    first = json.loads(furnished("key issue lead --account 50K-1"))
    second = json.loads(furnished(f"key rotate {first['key']}"))
    assert second["account"] == "50K-1"
    assert {row["key"] for row in json.loads(furnished("key list --json"))} == {first["key"], second["key"]}


def test_a_hook_is_shown_once_and_can_be_switched_off(furnished: Kopitra) -> None:
    made = json.loads(furnished("hook create lead --base https://desk.example"))
    assert made["url"] == f"https://desk.example{made['path']}"
    furnished(f"hook revoke {made['hook']} --yes")
    listed = furnished("hook list --json")
    assert json.loads(listed)[0]["on"] is False
    assert made["path"].rpartition("/")[2] not in listed


def test_a_broker_secret_is_neither_shown_nor_stored_in_clear(furnished: Kopitra, dsn: str) -> None:
    shown = furnished("login list --json")
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select settings::text, sealed from logins").fetchone()
    assert row is not None
    settings, sealed = row
    assert SECRET not in shown + str(settings)
    assert isinstance(sealed, bytes)
    assert SECRET.encode() not in sealed
    assert json.loads(shown)[0]["has_secrets"] is True


@pytest.mark.parametrize(
    "line",
    [
        "leader change nobody --off",
        "account change nobody --off",
        "login change nobody --off",
        "rule change nobody --set pace=paused",
        "key issue nobody --account X",
        "account create a9 --login nobody --broker-account X",
        "leader create lead",
    ],
)
def test_what_is_not_there_or_there_already_is_said_with_a_remedy(furnished: Kopitra, line: str) -> None:
    furnished(line, code=3)


def test_a_workspace_that_is_not_there_is_named(kopitra: Kopitra) -> None:
    assert "kopitra workspace create" in kopitra("leader create lead", code=3)


def test_nothing_crosses_a_workspace(furnished: Kopitra) -> None:
    furnished("workspace create other")
    assert json.loads(furnished("account list --workspace other --json")) == []
    furnished("account change f1 --off --workspace other", code=3)
