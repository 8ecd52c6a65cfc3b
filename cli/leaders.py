"""`kopitra leader`: where signals come from."""

from dataclasses import replace

import typer

from cli.forcing import Force, forced
from cli.forecast import forecast
from cli.graph import check_graph
from cli.house import House, open_house
from cli.rim import AsJson, Stop, Workspace, listing, run, say
from kopitra.store.leaders import LeaderRow, change_leader, create_leader, get_leader, list_leaders

app = typer.Typer(no_args_is_help=True, help="Leaders: signal sources that followers copy.")
app.command()(forecast)


@app.command()
def create(
    leader: str = typer.Argument(help="Its id, such as lead."),
    account: str | None = typer.Option(
        None,
        help="One of our accounts whose own trades are the signals (drop copy); left out: none.",
    ),
    title: str = typer.Option("", help="What people call it."),
    workspace: Workspace = "main",
) -> None:
    """Create a leader.

    Example: kopitra leader create lead --account prop-1 --title "Opening drive"
    """
    run(_create(LeaderRow(workspace, leader, title or leader, b"{}", account)))


async def _create(row: LeaderRow) -> None:
    async with open_house() as house:
        await house.need_workspace(row.workspace)
        await create_leader(house.db, row)
    say(f"leader {row.leader_id} created; let it speak with `kopitra key issue` or `kopitra hook create`")


async def the_leader(house: House, workspace: str, leader: str) -> LeaderRow:
    """Raises Stop when there is none."""
    row = await get_leader(house.db, workspace, leader)
    if row is None:
        raise Stop(f"There is no leader {leader!r} in workspace {workspace}: see `kopitra leader list`.")
    return row


@app.command()
def change(
    leader: str = typer.Argument(help="Its id."),
    title: str | None = typer.Option(None, help="What people call it."),
    account: str | None = typer.Option(
        None, help="The account of its drop copy; an empty text ends the drop copy."
    ),
    active: bool | None = typer.Option(None, "--on/--off", help="Off: nobody copies it."),
    force: Force = False,
    workspace: Workspace = "main",
) -> None:
    """Change a leader.

    Example: kopitra leader change lead --off
    """
    run(_change(workspace, leader, title, account, active, force))


async def _change(
    workspace: str, leader: str, title: str | None, account: str | None, active: bool | None, force: bool
) -> None:
    async with open_house() as house:
        row = await the_leader(house, workspace, leader)
        changed = replace(
            row,
            title=row.title if title is None else title,
            account_id=row.account_id if account is None else (account or None),
            active=row.active if active is None else active,
        )
        await check_graph(house, workspace, leader=changed)
        await forced(lambda sure: change_leader(house.db, changed, force=sure), force)
    say(f"leader {leader} changed; a running gateway takes it up within a second")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the leaders of a workspace.

    Example: kopitra leader list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_leaders(house.db, workspace)
    rows = [
        {"leader": row.leader_id, "title": row.title, "drop_copy_of": row.account_id, "on": row.active}
        for row in found
    ]
    listing("Leaders", rows, as_json=as_json, empty="None yet: run `kopitra leader create --help`.")
