"""`kopitra follower`: an account and its rule in one step, and the switches that are needed every day."""

import typer

from cli.accounts import Limits
from cli.house import open_house
from cli.rim import AsJson, Workspace, listing, pairs, run, say
from cli.rules import Fields, Sizing, change_fields, fields_of, rule_id_of, store_rule
from cli.typed import changed_limits, changed_rule, rule_from
from cli.words import rule_in_words
from kopitra.domain.copy_rules import CopyRule, Pace
from kopitra.domain.limits import RiskLimits
from kopitra.store.accounts import AccountRow, create_account, list_accounts, list_logins
from kopitra.store.encoding import encode
from kopitra.store.rules import list_rules

app = typer.Typer(no_args_is_help=True, help="Followers: accounts that copy a leader.")


@app.command()
def create(
    account: str = typer.Argument(help="The new account's id."),
    leader: str = typer.Option(..., help="Whom to copy."),
    login: str = typer.Option(..., help="The login that carries the account."),
    broker_account: str = typer.Option(..., help="Its number or name at the broker."),
    title: str = typer.Option("", help="What people call it."),
    sizing: Sizing = None,
    given: Fields = None,
    limit: Limits = None,
    workspace: Workspace = "main",
) -> None:
    """Create an account and the rule by which it follows. An account that exists needs `kopitra rule create`.

    Example: kopitra follower create prop-7 --leader lead --login desk-1 --broker-account 50K-7
    """
    limits = changed_limits(RiskLimits(), pairs(limit or [], "--limit"))
    row = AccountRow(workspace, account, login, broker_account, title or account, {}, encode(limits))
    empty = CopyRule(rule_id_of(leader, account), 1, workspace, leader, account)
    run(_create(row, changed_rule(empty, fields_of(sizing, given))))


async def _create(row: AccountRow, rule: CopyRule) -> None:
    async with open_house() as house:
        await house.need_leader(row.workspace, rule.leader)
        await create_account(house.db, row)
        await store_rule(house, rule)
    say(f"follower {row.account_id} of {rule.leader} created: {rule_in_words(rule)}")


@app.command()
def change(
    account: str = typer.Argument(help="The follower's account."),
    leader: str = typer.Option(..., help="Whom it copies."),
    pace: str = typer.Option(
        ..., help="active, close_only (no entries) or paused (only exits of what we opened)."
    ),
    workspace: Workspace = "main",
) -> None:
    """Pause a follower, let it only close, or let it copy again: a new version of its rule.

    Example: kopitra follower change prop-7 --leader lead --pace close_only
    """
    run(_change(workspace, rule_id_of(leader, account), account, pace))


async def _change(workspace: str, rule_id: str, account: str, pace: str) -> None:
    async with open_house() as house:
        row = await change_fields(house, workspace, rule_id, {"pace": pace})
        now: Pace = rule_from(row.body).pace
    say(f"follower {account} is {now.replace('_', ' ')} (rule version {row.version})")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the followers: account, broker, leader, and the rule in words.

    Example: kopitra follower list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        accounts = {row.account_id: row for row in await list_accounts(house.db, workspace)}
        brokers = {row.login_id: row.broker for row in await list_logins(house.db, workspace)}
        rules = [row for row in await list_rules(house.db, workspace) if row.active]
    rows = [
        {
            "account": row.account_id,
            "broker": brokers.get(accounts[row.account_id].login_id, ""),
            "leader": row.leader_id,
            "copies": rule_in_words(rule_from(row.body)),
            "on": accounts[row.account_id].active,
        }
        for row in rules
    ]
    listing("Followers", rows, as_json=as_json, empty="None yet: run `kopitra follower create --help`.")
