"""`kopitra account`: broker accounts and their risk limits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

from cli.forcing import Force, forced
from cli.house import House, open_house
from cli.rim import AsJson, Stop, Workspace, listing, pairs, run, say
from cli.typed import changed_limits, limits_from
from cli.words import limits_in_words
from kopitra.domain.limits import RiskLimits
from kopitra.store.accounts import AccountRow, change_account, create_account, get_account, list_accounts
from kopitra.store.encoding import encode

app = typer.Typer(no_args_is_help=True, help="Accounts at brokers, and what each may risk.")

Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", "-l", metavar="NAME=VALUE", help="A risk limit, such as daily_loss=500 (repeatable)."
    ),
]


@app.command()
def create(
    account: str = typer.Argument(help="Its id, such as prop-7."),
    login: str = typer.Option(..., help="The login that carries it."),
    broker_account: str = typer.Option(..., help="Its number or name at the broker."),
    title: str = typer.Option("", help="What people call it."),
    limit: Limits = None,
    shadow: bool = typer.Option(
        False, "--shadow", help="Its orders end on paper: nothing reaches the broker."
    ),
    workspace: Workspace = "main",
) -> None:
    """Create an account.

    Example: kopitra account create prop-7 --login desk-1 --broker-account 50K-1234 --limit daily_loss=500
    """
    limits = changed_limits(RiskLimits(), pairs(limit or [], "--limit"))
    row = AccountRow(
        workspace, account, login, broker_account, title or account, {}, encode(limits), shadow=shadow
    )
    run(_create(row))


async def _create(row: AccountRow) -> None:
    async with open_house() as house:
        await house.need_workspace(row.workspace)
        await create_account(house.db, row)
    say(f"account {row.account_id} created")


async def the_account(house: House, workspace: str, account: str) -> AccountRow:
    """Raises Stop when there is none."""
    row = await get_account(house.db, workspace, account)
    if row is None:
        raise Stop(f"There is no account {account!r} in workspace {workspace}: see `kopitra account list`.")
    return row


@app.command()
def change(
    account: str = typer.Argument(help="Its id."),
    title: str | None = typer.Option(None, help="What people call it."),
    limit: Limits = None,
    active: bool | None = typer.Option(None, "--on/--off", help="Off: the account takes part in nothing."),
    shadow: bool | None = typer.Option(
        None, "--shadow/--real", help="Shadow: its orders end on paper; refused while it holds something."
    ),
    force: Force = False,
    workspace: Workspace = "main",
) -> None:
    """Change an account: its title, limits (an empty value lifts one), or whether it takes part.

    Example: kopitra account change prop-7 --limit daily_loss=400 --limit max_position_qty=
    """
    run(_change(workspace, account, title, pairs(limit or [], "--limit"), active, shadow, force))


async def _change(
    workspace: str,
    account: str,
    title: str | None,
    limits: Mapping[str, str],
    active: bool | None,
    shadow: bool | None,
    force: bool,
) -> None:
    async with open_house() as house:
        row = await the_account(house, workspace, account)
        changed = replace(
            row,
            title=row.title if title is None else title,
            limits=encode(changed_limits(limits_from(row.limits), limits)),
            active=row.active if active is None else active,
            shadow=row.shadow if shadow is None else shadow,
        )
        await forced(lambda sure: change_account(house.db, changed, force=sure), force)
    say(f"account {account} changed; a running gateway takes it up within a second")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the accounts of a workspace with their limits.

    Example: kopitra account list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_accounts(house.db, workspace)
    rows = [
        {
            "account": row.account_id,
            "title": row.title,
            "login": row.login_id,
            "broker_account": row.broker_account,
            "limits": limits_in_words(limits_from(row.limits)),
            "on": row.active,
            "shadow": row.shadow,
        }
        for row in found
    ]
    listing("Accounts", rows, as_json=as_json, empty="None yet: run `kopitra account create --help`.")
