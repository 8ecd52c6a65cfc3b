"""`kopitra limits`: loss limits of prop accounts. A change is a new version; the old ones stay."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from cli.accounts import the_account
from cli.house import House, open_house
from cli.limit_words import FIELDS, changed_prop, in_one_line, lines_of, prop_from, rungs
from cli.rim import WRONG_ARGUMENTS, AsJson, Stop, Workspace, Yes, listing, pairs, run, say
from kopitra.domain.loss_ladder import Standing, rung_of, stands, uses
from kopitra.domain.measuring import Measure, Reading
from kopitra.domain.prop_limits import PropLimits
from kopitra.domain.reset_clock import trading_day
from kopitra.store.encoding import encode
from kopitra.store.limits import (
    LimitsRow,
    NewStartRow,
    add_limits,
    ask_new_start,
    limits_versions,
    new_starts,
)

app = typer.Typer(
    no_args_is_help=True, help="Loss limits of prop accounts: daily and maximum loss, caps, ladder."
)

Account = Annotated[str, typer.Argument(help="Its id.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help=f"A limit (repeatable): {', '.join(FIELDS)}."),
]


@app.command("set")
def set_limits(
    account: Account,
    given: Fields = None,
    counts_from: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First trading day; left out: the present one."),
    ] = None,
    verified: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="When it was compared with the firm's page; left out: today."
        ),
    ] = None,
    workspace: Workspace = "main",
) -> None:
    """Make the first or a new version of an account's limits; an empty value takes a rule away.

    Example: kopitra limits set prop-7 --set initial_balance=50000 --set daily_loss.amount=1000 --set caps=ES:5
    """
    days = [None if day is None else day.date() for day in (counts_from, verified)]
    run(_set(workspace, account, pairs(given or [], "--set"), days[0], days[1]))


async def _set(
    workspace: str, account: str, given: Mapping[str, str], counts_from: date | None, verified: date | None
) -> None:
    async with open_house() as house:
        await the_account(house, workspace, account)
        newest = next(iter(await limits_versions(house.db, workspace, account)), None)
        limits = changed_prop(None if newest is None else prop_from(newest.body), given)
        now = house.clock.now()
        row = LimitsRow(
            workspace,
            account,
            newest.version if newest is not None else 0,
            counts_from or trading_day(limits.reset, now).day,
            verified or now.date(),
            encode(limits),
            now,
            house.who,
        )
        made = await add_limits(house.db, row)
    say(
        f"limits of {account} are now version {made.version}, from {made.effective_from} on: {in_one_line(limits)}"
    )


@app.command()
def show(account: Account, workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """Show the newest version rule by rule, in words.

    Example: kopitra limits show prop-7
    """
    run(_show(workspace, account, as_json))


async def _show(workspace: str, account: str, as_json: bool) -> None:
    async with open_house() as house:
        row = await _newest(house, workspace, account)
    said = [
        *lines_of(prop_from(row.body)),
        ("counts from", str(row.effective_from)),
        ("verified on", str(row.verified_on)),
    ]
    rows = [{"limit": name, "says": text} for name, text in said]
    listing(f"Limits of {account}, version {row.version}", rows, as_json=as_json, empty="")


async def _newest(house: House, workspace: str, account: str) -> LimitsRow:
    await the_account(house, workspace, account)
    found = await limits_versions(house.db, workspace, account)
    if not found:
        raise Stop(f"The account {account} has no loss limits: run `kopitra limits set --help`.")
    return found[0]


@app.command()
def history(account: Account, workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List all versions and new measuring starts, newest first, with who made them.

    Example: kopitra limits history prop-7
    """
    run(_history(workspace, account, as_json))


async def _history(workspace: str, account: str, as_json: bool) -> None:
    async with open_house() as house:
        await the_account(house, workspace, account)
        versions = await limits_versions(house.db, workspace, account)
        starts = await new_starts(house.db, workspace, account)
    made = [
        (
            row.created_at,
            f"version {row.version}",
            f"from {row.effective_from}, verified {row.verified_on}: {in_one_line(prop_from(row.body))}",
            row.created_by,
        )
        for row in versions
    ]
    made += [(row.created_at, f"new start {row.start_id}", row.reason, row.created_by) for row in starts]
    rows = [
        {"at": at.isoformat(timespec="seconds"), "what": what, "says": says, "by": by}
        for at, what, says, by in sorted(made, reverse=True)
    ]
    listing(
        f"History of {account}", rows, as_json=as_json, empty="None yet: run `kopitra limits set --help`."
    )


@app.command()
def explain(
    account: Account,
    balance: str = typer.Option(..., help="Closed trades only."),
    equity: str = typer.Option("", help="With open profit; left out: the balance."),
    day_balance: str = typer.Option("", help="The day's first balance; left out: the initial balance."),
    peak: str = typer.Option("", help="The highest equity so far; left out: the higher of start and equity."),
    day_peak: str = typer.Option("", help="The day's highest equity; left out: the equity."),
    eod_peak: str = typer.Option(
        "", help="The highest balance at a day's end; left out: the initial balance."
    ),
    best_day: str = typer.Option("0", help="Profit of the best day that is over."),
    workspace: Workspace = "main",
    as_json: AsJson = False,
) -> None:
    """Work the limits out for an account that stands so: what is used, and where each rung is.

    Example: kopitra limits explain prop-7 --balance 50200 --equity 49400 --peak 51000
    """
    texts = (balance, equity or balance, day_balance, peak, day_peak, eod_peak, best_day)
    run(_explain(workspace, account, [_money(text) for text in texts], as_json))


def _money(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        raise Stop(f"{text!r} is no amount of money: write one such as 50000.", WRONG_ARGUMENTS) from None


async def _explain(workspace: str, account: str, given: list[Decimal | None], as_json: bool) -> None:
    async with open_house() as house:
        limits = prop_from((await _newest(house, workspace, account)).body)
    balance, equity = given[0] or Decimal(0), given[1] or Decimal(0)
    measure = _measure(limits, equity, given)
    found = uses(limits, measure, Reading(balance, equity, equity))
    rows = [rungs(limits, use) | {"then": rung_of(limits, use)} for use in found]
    listing(
        f"{account} at equity {equity}", rows, as_json=as_json, empty="No loss rule: caps and stops only."
    )
    standing = stands(limits, measure, found, Standing(0, measure.day, "clear"))
    say(standing.text or "Entries may go.")


def _measure(limits: PropLimits, equity: Decimal, given: list[Decimal | None]) -> Measure:
    start = limits.initial_balance
    _, _, day_balance, peak, day_peak, eod_peak, best_day = given
    first = day_balance if day_balance is not None else start
    return Measure(
        0,
        start,
        date.min,
        first,
        first,
        day_peak if day_peak is not None else max(first, equity),
        peak if peak is not None else max(start, equity),
        eod_peak if eod_peak is not None else start,
        best_day or Decimal(0),
    )


@app.command()
def restart(
    account: Account,
    reason: str = typer.Option(..., help="Why; stands in the journal beside who."),
    balance: str = typer.Option("", help="The balance to count from; left out: the broker's."),
    peak: str = typer.Option("", help="The highest equity so far, as the firm counts it."),
    yes: Yes = False,
    workspace: Workspace = "main",
) -> None:
    """Measure an account's losses anew: the only way out of a maximum loss.

    Example: kopitra limits restart prop-7 --reason "the firm reset the account" --balance 50000
    """
    if not reason.strip():
        raise Stop("Say why: --reason must not be empty.", WRONG_ARGUMENTS)
    amounts = _money(balance), _money(peak)
    if not yes:
        typer.confirm(
            "The highest equity is forgotten and entries may go again. Are you sure?", abort=True, err=True
        )
    run(_restart(workspace, account, amounts, reason.strip()))


async def _restart(
    workspace: str, account: str, amounts: tuple[Decimal | None, Decimal | None], reason: str
) -> None:
    async with open_house() as house:
        await _newest(house, workspace, account)
        row = NewStartRow(workspace, account, *amounts, reason, house.clock.now(), house.who)
        await ask_new_start(house.db, row)
    say(f"{account} is measured anew as soon as a running gateway knows its equity")
