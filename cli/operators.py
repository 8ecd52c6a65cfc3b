"""`kopitra operator`: people who may see and stop the machine, until an identity provider knows them."""

from typing import cast, get_args

import typer

from cli.house import open_house
from cli.rim import WRONG_ARGUMENTS, AsJson, Stop, Workspace, give_json, listing, run, say
from gateway_container.api.doors import OperatorGrant, Role
from gateway_container.operators import add_operator, load_operators, make_operator
from kopitra.settings import Settings
from kopitra.store.config_changes import ChangeRow, tell_change
from kopitra.store.encoding import encode

app = typer.Typer(no_args_is_help=True, help="Operators of the console's API, by key.")

FILE = "operators.json"


@app.command()
def create(
    name: str = typer.Argument(help="Who it is; stands in the journal beside what this key does."),
    role: str = typer.Option("operator", help="viewer, operator or admin."),
    workspace: Workspace = "main",
) -> None:
    """Create an operator's key for 90 days; it is shown once, as JSON on standard output.

    Example: kopitra operator create alice --role admin
    """
    run(_create(workspace, name, role))


async def _create(workspace: str, name: str, role: str) -> None:
    if role not in get_args(Role):
        raise Stop(f"There is no role {role!r}; known: {', '.join(get_args(Role))}.", WRONG_ARGUMENTS)
    async with open_house() as house:
        await house.need_workspace(workspace)
        now = house.clock.now()
        grant, token = make_operator(workspace, name, cast("Role", role), now)
        seen = encode(_shown(grant)).decode()
        change = ChangeRow(0, workspace, house.who, "operator", grant.key_id, "null", seen, now)
        path = house.settings.data_dir / FILE
        # The file comes last: should the commit fail after it, nobody has seen the token of the key in it.
        async with house.db.transaction() as session:
            await tell_change(session, change)
            add_operator(path, grant)
    give_json({"name": name, "role": role, "token": token, "expires_at": _shown(grant)["expires_at"]})
    address = f"http://{house.settings.host}:{house.settings.port}"
    say(
        "Keep the token now, it is not shown again. It goes into the header of every call to /ops/v1, such as\n"
        f'  curl {address}/ops/v1/snapshot -H "Authorization: Bearer <token>"\n'
        "which shows accounts, positions and orders; kill switches and flatten: docs/operations.md.\n"
        f"A gateway with this data folder ({path.parent}) knows it within a second; others need {path.name} copied."
    )


def _shown(grant: OperatorGrant) -> dict[str, object]:
    """Without the hash of the secret."""
    return {
        "key": grant.key_id,
        "workspace": grant.workspace,
        "name": grant.name,
        "role": grant.role,
        "expires_at": grant.expires_at.isoformat(timespec="seconds"),
    }


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the operators of this machine.

    Example: kopitra operator list
    """
    run(_list(as_json))


async def _list(as_json: bool) -> None:
    rows = [_shown(row) for row in load_operators(Settings().data_dir / FILE)]
    listing("Operators", rows, as_json=as_json, empty="None yet: run `kopitra operator create --help`.")
