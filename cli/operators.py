"""`kopitra operator`: people who may see and stop the machine, until an identity provider knows them."""

from typing import cast, get_args

import typer

from cli.rim import WRONG_ARGUMENTS, AsJson, Stop, Workspace, give_json, listing, run, say
from gateway_container.api.doors import Role
from gateway_container.operators import add_operator, load_operators
from kopitra.clock import SystemClock
from kopitra.settings import Settings

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
    path = Settings().data_dir / FILE
    token = add_operator(path, workspace, name, cast("Role", role), SystemClock().now())
    give_json({"name": name, "role": role, "token": token})
    say("This is the only time that the token is shown: keep it now. Gateways learn it at their next start.")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the operators of this machine.

    Example: kopitra operator list
    """
    run(_list(as_json))


async def _list(as_json: bool) -> None:
    rows = [
        {
            "key": row.key_id,
            "workspace": row.workspace,
            "name": row.name,
            "role": row.role,
            "expires_at": row.expires_at.isoformat(timespec="seconds"),
        }
        for row in load_operators(Settings().data_dir / FILE)
    ]
    listing("Operators", rows, as_json=as_json, empty="None yet: run `kopitra operator create --help`.")
