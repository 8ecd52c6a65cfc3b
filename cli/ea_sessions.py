"""`kopitra ea-sessions`: terminals of expert advisors that are connected, and who may connect unasked."""

from typing import Annotated, cast

import typer

from cli.house import House, open_house
from cli.rim import NO, WRONG_ARGUMENTS, AsJson, Stop, Workspace, Yes, listing, run, say
from kopitra.store.ea_sessions import Scope, SessionRow, approve, end_session, list_sessions, withdraw

app = typer.Typer(no_args_is_help=True, help="Sessions of expert advisors.")

Session = Annotated[str, typer.Argument(help="Its id, or the beginning of it.")]
Key = Annotated[str, typer.Option(help="An EA key's id.")]
Leader = Annotated[str, typer.Option(help="All keys of this leader.")]
Everyone = Annotated[bool, typer.Option("--all", help="All keys of the workspace.")]


@app.command("list")
def list_all(
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
    workspace: Workspace = "main",
    as_json: AsJson = False,
) -> None:
    """List the sessions of a workspace; `seen_at` is right to ten minutes.

    Example: kopitra ea-sessions list
    """
    run(_list(workspace, ended, as_json))


async def _list(workspace: str, ended: bool, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_sessions(house.db, workspace, ended=ended)
    rows = [
        {
            "session": row.session_id,
            "leader": row.leader_id,
            "key": row.key_id,
            "account": row.account,
            "status": row.status,
            "reason": row.reason,
            "client": row.client.decode(),
            "opened_at": row.opened_at.isoformat(timespec="seconds"),
            "seen_at": row.seen_at.isoformat(timespec="seconds"),
        }
        for row in found
    ]
    listing(
        "EA sessions", rows, as_json=as_json, empty="None: EAs open them by POST /sessions, see docs/ea.md."
    )


@app.command("approve")
def approve_one(session: Session, workspace: Workspace = "main") -> None:
    """Let a session trade, and every later one of the same key.

    Example: kopitra ea-sessions approve 1f0c
    """
    run(_approve(workspace, session))


async def _approve(workspace: str, session: str) -> None:
    async with open_house() as house:
        row = await _find(house, workspace, session)
        await approve(house.db, workspace, "key", row.key_id, house.who, house.clock.now())
    say(f"sessions of key {row.key_id} (leader {row.leader_id}) are approved")


@app.command()
def end(session: Session, yes: Yes = False, workspace: Workspace = "main") -> None:
    """End a session; its terminal is told, and may open another. Revoke its key to keep it out.

    Example: kopitra ea-sessions end 1f0c --yes
    """
    run(_end(workspace, session, yes))


async def _end(workspace: str, session: str, yes: bool) -> None:
    async with open_house() as house:
        row = await _find(house, workspace, session)
        if not yes:
            typer.confirm(f"End the session of leader {row.leader_id} now?", abort=True, err=True)
        await end_session(house.db, row.session_id, "ended_by_operator", house.clock.now())
    say(f"session {row.session_id} ended")


@app.command("auto-approve")
def auto_approve(
    ea: Key = "",
    leader: Leader = "",
    everyone: Everyone = False,
    off: Annotated[bool, typer.Option("--off", help="New sessions wait for approval again.")] = False,
    workspace: Workspace = "main",
) -> None:
    """Sessions of a key, of a leader or of the workspace need no approval, or do again.

    Example: kopitra ea-sessions auto-approve --leader lead
    """
    named = [
        (scope, name)
        for scope, name in (("key", ea), ("leader", leader), ("workspace", workspace if everyone else ""))
        if name
    ]
    if len(named) != 1:
        raise Stop("Say whose sessions: one of --ea, --leader or --all.", WRONG_ARGUMENTS)
    scope, name = named[0]
    run(_auto_approve(workspace, cast("Scope", scope), name, off))


async def _auto_approve(workspace: str, scope: Scope, name: str, off: bool) -> None:
    async with open_house() as house:
        await house.need_workspace(workspace)
        if off:
            known = await withdraw(house.db, workspace, scope, name)
            say(f"new sessions of {scope} {name} wait for approval" + ("" if known else ", as they did"))
            return
        waited = await approve(house.db, workspace, scope, name, house.who, house.clock.now())
    say(f"sessions of {scope} {name} are approved ({waited} waited)")


async def _find(house: House, workspace: str, session: str) -> SessionRow:
    found = [row for row in await list_sessions(house.db, workspace) if row.session_id.startswith(session)]
    if len(found) != 1:
        which = "There is no open session" if not found else "There are several open sessions"
        raise Stop(f"{which} {session!r} in workspace {workspace}: see `kopitra ea-sessions list`.", NO)
    return found[0]
