"""`kopitra flatten`: close everything in a scope, through the gateway, or without it when it is dead (R-097).

A gateway that answers does it, because it holds the sessions; it also can while the database is down. Without one
this process takes the shard itself. Without gateway and database no program can: secrets are sealed in the database.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Final, cast, get_args

import httpx2
import msgspec
import typer

from cli.house import database, who_asks
from cli.operator_door import checked, operator_door
from cli.rim import BROKEN, NO, WRONG_ARGUMENTS, Stop, Yes, listing, run, say
from gateway_container.break_glass import Glass, Order, opened
from kopitra.domain.errors import Unavailable
from kopitra.domain.switches import SwitchScope
from kopitra.settings import Settings
from kopitra.store.exit_records import read
from kopitra.store.lease import ShardHeld
from kopitra.telemetry import configure_logging
from kopitra.wire.views import FlattenAccountView

#: seconds for one answer of a gateway
_HTTP_TIMEOUT_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.3
#: looks at a gateway that does not answer before we say so
_SILENT_MAX: Final = 20
_BY_HAND: Final = (
    "Log in at each broker's own screen, cancel the working orders and close the positions there; "
    "stop every gateway first, or it may act on what it remembers."
)


class _Position(msgspec.Struct, rename="camel"):
    account_id: str
    symbol: str
    qty: str


class _Snapshot(msgspec.Struct):
    positions: list[_Position]


class _Account(msgspec.Struct, rename="camel"):
    account_id: str
    state: str
    detail: str = ""


class _Run(msgspec.Struct, rename="camel"):
    flatten_id: str
    done: bool
    accounts: list[_Account]


def flatten(
    scope: Annotated[str, typer.Option(help="account, leader, broker, workspace or global.")],
    scope_id: Annotated[
        str, typer.Option("--id", help="Its id; for workspace the --workspace when left out.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; stands in the journal.")] = "",
    workspace: Annotated[str, typer.Option("--workspace", "-w", envvar="KOPITRA_WORKSPACE")] = "main",
    url: Annotated[
        str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")
    ] = "http://127.0.0.1:8080",
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Do not ask a gateway: fence it, wait out its lease, and do it here."
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Close everything in a scope until each broker showed flat twice. Exit code 0: all are flat; 1: some are not.

    Example: kopitra flatten --scope account --id 50K-1 --reason "runaway"
    """
    if scope not in get_args(SwitchScope):
        raise Stop(
            f"There is no scope {scope!r}; known: {', '.join(get_args(SwitchScope))}.", WRONG_ARGUMENTS
        )
    if not reason.strip():
        raise Stop("Say why: --reason TEXT. It stands in the journal beside who asked.", WRONG_ARGUMENTS)
    if not scope_id and scope not in ("workspace", "global"):
        raise Stop(f"Name the {scope}: --id.", WRONG_ARGUMENTS)
    everywhere = scope == "global"
    chosen = "" if everywhere else scope_id or workspace
    order = Order(
        cast("SwitchScope", scope), chosen, "" if everywhere else workspace, reason,
        f"break-glass:{who_asks().removeprefix('cli:')}", take_over,
    )  # fmt: skip
    if not run(_flatten(Settings(), order, url, yes)):
        raise typer.Exit(NO)


async def _flatten(settings: Settings, order: Order, url: str, yes: bool) -> bool:
    if not order.take_over and await _answers(url):
        return await _by_gateway(order, url, yes)
    say(
        "no gateway is asked: this process takes the shard"
        if order.take_over
        else f"no gateway answers at {url}"
    )
    return await _by_hand(settings, order, yes)


async def _answers(url: str) -> bool:
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_HTTP_TIMEOUT_S) as http:
            return (await http.get(f"{url}/trade-agent/v1/health/live")).status_code == 200
    except httpx2.HTTPError:
        return False


# through the gateway ---------------------------------------------------------------------------------------


async def _by_gateway(order: Order, url: str, yes: bool) -> bool:
    if order.scope == "global":
        raise Stop(
            "A gateway serves one workspace at a time: flatten each workspace, or use --take-over for all.",
            WRONG_ARGUMENTS,
        )
    async with operator_door(url, "If it does not do as it is told, use --take-over.") as http:
        snapshot = msgspec.json.decode(checked(await http.get("/snapshot")), type=_Snapshot)
        _preview([(p.account_id, p.symbol, p.qty, "") for p in snapshot.positions], order, yes)
        body = {"scope": order.scope, "scopeId": order.scope_id, "reason": order.reason, "halt": True}
        view = msgspec.json.decode(checked(await http.post("/flatten", json=body)), type=_Run)
        return await _followed(http, view)


async def _followed(http: httpx2.AsyncClient, view: _Run) -> bool:
    shown: dict[str, _Account] = {}
    silent = 0
    while True:
        for account in view.accounts:
            if shown.get(account.account_id) != account:
                shown[account.account_id] = account
                _tell(account.account_id, account.state, account.detail)
        if view.done:
            return all(a.state == "flat_confirmed" for a in view.accounts)
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            view = msgspec.json.decode(checked(await http.get(f"/flatten/{view.flatten_id}")), type=_Run)
            silent = 0
        except httpx2.HTTPError:
            silent += 1
            if silent >= _SILENT_MAX:
                raise Stop("The gateway stopped answering: run this command again.", BROKEN) from None


# without it ------------------------------------------------------------------------------------------------


async def _by_hand(settings: Settings, order: Order, yes: bool) -> bool:
    configure_logging("ERROR")  # a person reads along
    try:
        with database(settings) as dsn:
            async with opened(settings, dsn, order) as glass:
                return await _broken(glass, order, yes)
    except ShardHeld as held:
        raise Stop(
            f"{held.message} It is alive: ask it (--url), or fence it with --take-over.", BROKEN
        ) from None
    except Unavailable as away:
        raise Stop(f"{_impossible(settings)} [{away.message}]", BROKEN) from None


async def _broken(glass: Glass, order: Order, yes: bool) -> bool:
    if not glass.accounts:
        raise Stop(f"There is no active account in {order.scope} {order.scope_id}: check --id.", NO)
    rows = await glass.preview()
    _preview([(r.account_id, r.symbol, str(r.net_qty), str(r.open_orders)) for r in rows], order, yes)
    say(f"taking the shard for {len(glass.accounts)} accounts; a dead gateway's lease is waited out")
    return await glass.flatten(_told)


def _impossible(settings: Settings) -> str:
    """Neither gateway nor database: what cannot be done, and what a person does instead."""
    path = settings.data_dir / f"exits-{settings.shard}.bin"
    left = _left_in(path)
    told = f" {left} exits that a gateway sent without the database are in {path}: keep it." if left else ""
    return (
        "Neither a gateway nor the database answers, so no program can flatten now: the brokers' credentials are "
        f"sealed in the database. {_BY_HAND}{told}"
    )


def _left_in(path: Path) -> int:
    try:
        return len(read(path.read_bytes()).records)
    except OSError:
        return 0


def _told(account: FlattenAccountView) -> None:
    _tell(account.account_id, account.state, account.detail)


def _tell(account_id: str, state: str, detail: str) -> None:
    say(f"{account_id}: {state.replace('_', ' ')}{f' ({detail})' if detail else ''}")


def _preview(rows: list[tuple[str, str, str, str]], order: Order, yes: bool) -> None:
    columns = ("account", "contract", "position", "open_orders")
    listing(
        f"What {order.scope} {order.scope_id} holds by our books".strip(),
        [dict(zip(columns, row, strict=True)) for row in rows],
        as_json=False,
        empty="By our books nothing is held; the brokers' own words decide.",
    )
    if not yes:
        typer.confirm(
            "Cancel every order and close every position in it, and stop its entries?", abort=True, err=True
        )
