"""`kopitra login`: logins at brokers. Their secrets are sealed before they reach the database."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final, cast

import typer
from rich.padding import Padding
from rich.text import Text

from brokers import registry
from cli.forcing import Force, forced
from cli.house import House, open_house
from cli.rim import WRONG_ARGUMENTS, AsJson, Stop, Workspace, give, give_json, listing, out, pairs, run, say
from cli.secret_input import credentials
from gateway_container.config_source import CREDENTIALS_FIELD
from kopitra.ports import BrokerAdapter, LoginPlan
from kopitra.store.accounts import LoginRow, change_login, create_login, get_login, list_logins
from kopitra.store.encoding import Decoder, encode

app = typer.Typer(no_args_is_help=True, help="Logins at brokers; one login carries one or more accounts.")

Settings = Annotated[
    list[str] | None,
    typer.Option("--setting", "-s", metavar="NAME=VALUE", help="A setting of the broker (repeatable)."),
]
FromStdin = Annotated[
    bool,
    typer.Option("--secrets-from-stdin", help="Read the secrets as one JSON object from standard input."),
]
_SECRETS: Final = Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class Asked:
    """What a broker wants to know: required secrets, optional ones, settings (those have defaults)."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    settings: tuple[str, ...]


def asked_by(adapter: BrokerAdapter) -> Asked:
    """The names in the adapter's schema, by what they are."""
    schema = adapter.credential_schema
    properties = cast("Mapping[str, Mapping[str, object]]", schema["properties"])
    required = tuple(str(name) for name in cast("list[str]", schema.get("required", [])))
    settings = tuple(name for name, spec in properties.items() if "default" in spec and name not in required)
    optional = tuple(name for name in properties if name not in (*required, *settings))
    return Asked(required, optional, settings)


def adapter_of(broker: str) -> BrokerAdapter:
    """Raises Stop naming the brokers there are."""
    known = registry()
    if broker not in known:
        raise Stop(f"There is no broker {broker!r}; known: {', '.join(known)}.", WRONG_ARGUMENTS)
    return known[broker]


def checked_settings(adapter: BrokerAdapter, given: Mapping[str, str]) -> Mapping[str, str]:
    """Raises Stop for a setting that the broker does not have; secrets do not belong here."""
    asked = asked_by(adapter)
    wrong = sorted(set(given) - set(asked.settings))
    if wrong:
        raise Stop(
            f"{adapter.title} has no setting {wrong[0]!r}; known: {', '.join(asked.settings)}.",
            WRONG_ARGUMENTS,
        )
    return given


@app.command()
def create(
    login: str = typer.Argument(help="Its id, such as desk-1."),
    broker: str = typer.Option(..., help="The broker's code; `kopitra login brokers` lists them."),
    title: str = typer.Option("", help="What people call it."),
    setting: Settings = None,
    secrets_from_stdin: FromStdin = False,
    workspace: Workspace = "main",
) -> None:
    """Create a login. Secrets are asked for, or read from KOPITRA_SECRET_<NAME> or from standard input.

    Example: kopitra login create desk-1 --broker BROKER --setting api_url=https://gateway.example
    """
    run(
        _create(
            LoginRow(workspace, login, broker, title or login, pairs(setting or [], "--setting")),
            secrets_from_stdin,
        )
    )


async def _create(row: LoginRow, from_stdin: bool) -> None:
    adapter = adapter_of(row.broker)
    checked_settings(adapter, row.settings)
    asked = asked_by(adapter)
    secrets = credentials(asked.required, asked.optional, from_stdin=from_stdin)
    async with open_house() as house:
        await house.need_workspace(row.workspace)
        await store_login(house, row, secrets)
    say(f"login {row.login_id} created; `kopitra login accounts {row.login_id}` lists its accounts")


async def store_login(house: House, row: LoginRow, secrets: Mapping[str, str]) -> None:
    """Create a login with its secrets sealed. Raises Conflict."""
    await create_login(house.db, replace(row, sealed=await _sealed(house, row, secrets)))


async def _sealed(house: House, row: LoginRow, secrets: Mapping[str, str]) -> bytes:
    sealer = await house.sealer()
    return sealer.seal(row.workspace, row.login_id, CREDENTIALS_FIELD, encode(secrets))


async def the_login(house: House, workspace: str, login: str) -> LoginRow:
    """Raises Stop when there is none."""
    row = await get_login(house.db, workspace, login)
    if row is None:
        raise Stop(f"There is no login {login!r} in workspace {workspace}: see `kopitra login list`.")
    return row


@app.command()
def change(
    login: str = typer.Argument(help="Its id."),
    title: str | None = typer.Option(None, help="What people call it."),
    setting: Settings = None,
    active: bool | None = typer.Option(None, "--on/--off", help="Whether a session is opened at all."),
    secrets: bool = typer.Option(False, "--secrets", help="Give new secrets."),
    secrets_from_stdin: FromStdin = False,
    force: Force = False,
    workspace: Workspace = "main",
) -> None:
    """Change a login: its title, settings, secrets, or whether it is used.

    Example: kopitra login change desk-1 --off
    """
    new_secrets = secrets or secrets_from_stdin
    run(
        _change(
            workspace,
            login,
            title,
            pairs(setting or [], "--setting"),
            active,
            new_secrets,
            secrets_from_stdin,
            force,
        )
    )


async def _change(
    workspace: str,
    login: str,
    title: str | None,
    settings: Mapping[str, str],
    active: bool | None,
    new_secrets: bool,
    from_stdin: bool,
    force: bool,
) -> None:
    async with open_house() as house:
        row = await the_login(house, workspace, login)
        adapter = adapter_of(row.broker)
        changed = replace(
            row,
            title=row.title if title is None else title,
            settings={**row.settings, **checked_settings(adapter, settings)},
            active=row.active if active is None else active,
        )
        if new_secrets:
            asked = asked_by(adapter)
            given = credentials(asked.required, asked.optional, from_stdin=from_stdin)
            changed = replace(changed, sealed=await _sealed(house, row, given))
        await forced(lambda sure: change_login(house.db, changed, force=sure), force)
    say(f"login {login} changed; a running gateway takes it up within a second")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the logins of a workspace; secrets are never shown.

    Example: kopitra login list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_logins(house.db, workspace)
    rows = [
        {
            "login": row.login_id,
            "broker": row.broker,
            "title": row.title,
            "settings": " ".join(f"{name}={text}" for name, text in row.settings.items()),
            "has_secrets": row.sealed is not None,
            "on": row.active,
        }
        for row in found
    ]
    listing("Logins", rows, as_json=as_json, empty="None yet: run `kopitra login create --help`.")


@app.command()
def brokers(as_json: AsJson = False) -> None:
    """List the brokers with the secrets and settings that each asks for.

    Example: kopitra login brokers
    """
    rows: list[dict[str, str]] = []
    for code, adapter in registry().items():
        asked = asked_by(adapter)
        secrets = " ".join((*asked.required, *(f"[{name}]" for name in asked.optional)))
        settings = " ".join(asked.settings)
        rows.append({"broker": code, "title": adapter.title, "secrets": secrets, "settings": settings})
    if as_json:
        give_json(rows)
        return
    for row in rows:
        give(f"{row['broker']}: {row['title']}")
        for line in (f"secrets: {row['secrets']}", f"settings, each with a default: {row['settings']}"):
            out.print(Padding(Text(line), (0, 0, 0, 2)))


@app.command()
def accounts(
    login: str = typer.Argument(help="Its id."), workspace: Workspace = "main", as_json: AsJson = False
) -> None:
    """Log in at the broker and list the accounts that the login carries; opens no session and sends no order.

    Example: kopitra login accounts desk-1
    """
    run(_accounts(workspace, login, as_json))


async def _accounts(workspace: str, login: str, as_json: bool) -> None:
    async with open_house() as house:
        row = await the_login(house, workspace, login)
        if row.sealed is None:
            raise Stop(f"The login {login} has no secrets yet: run `kopitra login change {login} --secrets`.")
        sealer = await house.sealer()
        opened = _SECRETS(sealer.open(workspace, login, CREDENTIALS_FIELD, row.sealed))
        plan = LoginPlan(login, (), row.settings, opened)
        found = await adapter_of(row.broker).list_accounts(plan, house.clock)
    rows = [
        {"broker_account": a.broker_account, "title": a.title, "balance": a.balance, "tradable": a.tradable}
        for a in found
    ]
    listing(
        f"Accounts of {login}", rows, as_json=as_json, empty="The broker lists no account for this login."
    )
