"""`kopitra builds`: which builds may hold a lease, and which replicas live."""

import typer

from cli.house import open_house
from cli.rim import NO, AsJson, Stop, listing, run, say
from kopitra.store.builds import Verdict, is_break_glass, judge, list_builds
from kopitra.store.replicas import live_replicas

app = typer.Typer(no_args_is_help=True, help="Builds that may hold a lease, and the replicas that run them.")

_EMPTY = "None yet: the first gateway that starts writes its own build down as allowed."


@app.command()
def allow(build: str, reason: str = typer.Option("", help="Why; the journal keeps it.")) -> None:
    """Let a build take the lease. Do it before a rollout; earlier builds stay, so that going back is possible.

    Example: kopitra builds allow 2026.11.20-3 --reason "release 3"
    """
    run(_judge(build, allowed=True, reason=reason))


@app.command()
def forbid(build: str, reason: str = typer.Option(..., help="Why; the journal keeps it.")) -> None:
    """Never let a build take the lease again. One that holds it goes on until it is stopped.

    Example: kopitra builds forbid 2026.11.20-2 --reason "wrong rounding"
    """
    run(_judge(build, allowed=False, reason=reason))


async def _judge(build: str, *, allowed: bool, reason: str) -> None:
    async with open_house() as house:
        there = [row for row in await list_builds(house.db) if not is_break_glass(row.build)]
        if not allowed and not any(row.allowed and row.build != build for row in there):
            raise Stop(f"{build} is the last build that may hold a lease: allow another one first.", NO)
        await judge(house.db, Verdict(build, allowed, reason, house.who), house.clock.now())
    say(f"{build} {'may hold a lease' if allowed else 'may not hold a lease any more'}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the builds that were judged.

    Example: kopitra builds list
    """
    run(_list(as_json))


async def _list(as_json: bool) -> None:
    async with open_house() as house:
        rows = await list_builds(house.db)
    shown = [
        {"build": r.build, "allowed": r.allowed, "reason": r.reason, "who": r.who, "at": r.at} for r in rows
    ]
    listing("Builds", shown, as_json=as_json, empty=_EMPTY)


@app.command()
def running(as_json: AsJson = False) -> None:
    """List the replicas that live: role, build, configuration, and why one cannot take over.

    Example: kopitra builds running
    """
    run(_running(as_json))


async def _running(as_json: bool) -> None:
    async with open_house() as house:
        rows = await live_replicas(house.db, house.settings.shard)
    shown = [
        {
            "replica": r.holder,
            "role": r.role,
            "epoch": r.epoch,
            "build": r.build,
            "config": r.config_hash,
            "schema": r.schema,
            "note": r.note,
            "since": r.started_at,
        }
        for r in rows
    ]
    listing("Replicas", shown, as_json=as_json, empty="No replica was heard of in the last seconds.")
