"""`kopitra workspace`: tenants."""

import typer

from cli.house import open_house
from cli.rim import AsJson, listing, run, say
from kopitra.store.workspaces import list_workspaces

app = typer.Typer(no_args_is_help=True, help="Tenants: nothing crosses a workspace.")


@app.command()
def create(
    workspace: str = typer.Argument(help="Its id, such as main."),
    title: str = typer.Option("", help="What people call it."),
) -> None:
    """Create a workspace and the key that seals its secrets.

    Example: kopitra workspace create main --title "My desk"
    """
    run(_create(workspace, title or workspace))


async def _create(workspace: str, title: str) -> None:
    async with open_house() as house:
        await house.make_workspace(workspace, title)
    say(f"workspace {workspace} created")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the workspaces.

    Example: kopitra workspace list --json
    """
    run(_list(as_json))


async def _list(as_json: bool) -> None:
    async with open_house() as house:
        found = await list_workspaces(house.db)
    rows = [{"workspace": row.workspace, "title": row.title, "created_at": row.created_at} for row in found]
    listing("Workspaces", rows, as_json=as_json, empty="None yet: run `kopitra workspace create main`.")
