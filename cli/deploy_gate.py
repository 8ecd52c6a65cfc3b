"""`kopitra deploy-gate` and `kopitra news`: may a deployment begin now?"""

from datetime import UTC, datetime

import typer

from cli.house import open_house
from cli.rim import NO, WRONG_ARGUMENTS, AsJson, Stop, give, give_json, listing, run, say
from kopitra.store.deploy_gate import (
    add_window,
    news_windows,
    reasons_against,
    record_override,
    remove_window,
)

news = typer.Typer(no_args_is_help=True, help="Times in which no deployment should begin.")


def deploy_gate(
    shard: str | None = typer.Option(None, help="The shard; default KOPITRA_SHARD or main."),
    override: str | None = typer.Option(
        None, metavar="REASON", help="Begin all the same; the journal keeps who and why."
    ),
    as_json: AsJson = False,
) -> None:
    """Say whether a deployment may begin: no order without an answer for 30 s, no news within 15 minutes.

    Exit code 0: it may; 1: it should wait, each reason on its own line.

    Example: kopitra deploy-gate
    """
    run(_gate(shard, override, as_json))


async def _gate(shard: str | None, override: str | None, as_json: bool) -> None:
    if override is not None and not override.strip():
        raise Stop("An override needs its reason: --override 'why now'.", WRONG_ARGUMENTS)
    async with open_house() as house:
        against = await reasons_against(house.db, shard or house.settings.shard)
        if against and override is not None:
            await record_override(house.db, house.who, override, against, house.clock.now())
    if as_json:
        give_json([{"open": not against, "overridden": bool(against and override), "reasons": against}])
    else:
        for reason in against:
            give(reason)
    if against and override is None:
        raise Stop("The gate is shut: wait, or begin all the same with --override REASON.", NO)
    say("overridden, and recorded" if against else "the gate is open")


@news.command()
def add(
    title: str,
    start: datetime = typer.Option(..., help="UTC, such as 2026-12-04T13:15."),
    end: datetime = typer.Option(..., help="UTC."),
) -> None:
    """Add a window; the gate is shut from 15 minutes before its start to its end.

    Example: kopitra news add "US payrolls" --start 2026-12-04T13:15 --end 2026-12-04T14:00
    """
    starts_at, ends_at = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    if ends_at <= starts_at:
        raise Stop("A window must end after it starts: change --end.", WRONG_ARGUMENTS)
    run(_add(title, starts_at, ends_at))


async def _add(title: str, starts_at: datetime, ends_at: datetime) -> None:
    async with open_house() as house:
        give(str(await add_window(house.db, title, starts_at, ends_at)))


@news.command()
def remove(window: int) -> None:
    """Take a window away, by the number that `add` and `list` show.

    Example: kopitra news remove 3
    """
    run(_remove(window))


async def _remove(window: int) -> None:
    async with open_house() as house:
        if not await remove_window(house.db, window):
            raise Stop(f"There is no window {window}: see `kopitra news list`.", NO)


@news.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the windows.

    Example: kopitra news list
    """
    run(_list(as_json))


async def _list(as_json: bool) -> None:
    async with open_house() as house:
        rows = await news_windows(house.db)
    shown = [{"window": w.window_id, "title": w.title, "start": w.starts_at, "end": w.ends_at} for w in rows]
    listing("News", shown, as_json=as_json, empty="None: the gate knows no news.")
