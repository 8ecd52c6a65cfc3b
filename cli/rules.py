"""`kopitra rule`: copy rules. A change is a new version; the old ones stay, because intents name them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

from cli.forcing import Force, forced
from cli.graph import check_graph
from cli.house import House, open_house
from cli.rim import AsJson, Stop, Workspace, give, listing, pairs, run, say
from cli.typed import RULE_FIELDS, changed_rule, rule_from
from cli.words import rule_in_words
from kopitra.domain.copy_rules import CopyRule
from kopitra.store.encoding import encode
from kopitra.store.rules import RuleRow, change_rule, create_rule, current_rule, list_rules, rule_versions

app = typer.Typer(no_args_is_help=True, help="Copy rules: what a follower copies of a leader, and how large.")

Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help=f"A field of the rule (repeatable): {', '.join(RULE_FIELDS)}."
    ),
]
Sizing = Annotated[
    str | None,
    typer.Option(
        metavar="MODE:VALUE",
        help="fixed, multiplier, equity_proportional, percent_of_equity or risk_from_stop, and its number.",
    ),
]


def fields_of(sizing: str | None, given: list[str] | None) -> dict[str, str]:
    """`--sizing` and `--set` as fields."""
    found = pairs(given or [], "--set")
    if sizing is not None:
        mode, _, value = sizing.partition(":")
        found |= {"sizing.mode": mode, "sizing.value": value or "1"}
    return found


def rule_id_of(leader: str, account: str) -> str:
    """One rule for each pair."""
    return f"{leader}-{account}"


async def store_rule(house: House, rule: CopyRule) -> RuleRow:
    """Create a rule. Raises Stop for a circle in the copy graph, Conflict when the pair has one already."""
    row = RuleRow(
        rule.workspace, rule.rule_id, rule.leader, rule.account_id, encode(rule), house.clock.now(), house.who
    )
    await check_graph(house, rule.workspace, rule=row)
    return await create_rule(house.db, row)


async def the_rule(house: House, workspace: str, rule_id: str) -> RuleRow:
    """The current version. Raises Stop when there is none."""
    row = await current_rule(house.db, workspace, rule_id)
    if row is None:
        raise Stop(f"There is no rule {rule_id!r} in workspace {workspace}: see `kopitra rule list`.")
    return row


async def change_fields(
    house: House,
    workspace: str,
    rule_id: str,
    given: Mapping[str, str],
    active: bool | None = None,
    force: bool = False,
) -> RuleRow:
    """A new version with fields set. Raises Stop or Conflict."""
    row = await the_rule(house, workspace, rule_id)
    rule = replace(changed_rule(rule_from(row.body), given), version=row.version + 1)
    changed = replace(
        row,
        body=encode(rule),
        active=row.active if active is None else active,
        created_at=house.clock.now(),
        created_by=house.who,
    )
    if changed.active and not row.active:
        await check_graph(house, workspace, rule=changed)
    return await forced(lambda sure: change_rule(house.db, changed, force=sure), force)


@app.command()
def create(
    leader: str = typer.Argument(help="Whom to copy."),
    account: str = typer.Argument(help="The account that copies."),
    sizing: Sizing = None,
    given: Fields = None,
    workspace: Workspace = "main",
) -> None:
    """Let an account follow a leader.

    Example: kopitra rule create lead prop-7 --sizing multiplier:0.5 --set symbol_map=ES:MES:10
    """
    empty = CopyRule(rule_id_of(leader, account), 1, workspace, leader, account)
    run(_create(changed_rule(empty, fields_of(sizing, given))))


async def _create(rule: CopyRule) -> None:
    async with open_house() as house:
        await house.need_leader(rule.workspace, rule.leader)
        await store_rule(house, rule)
    say(f"rule {rule.rule_id} created: {rule_in_words(rule)}")


@app.command()
def change(
    rule_id: str = typer.Argument(metavar="RULE", help="Its id."),
    sizing: Sizing = None,
    given: Fields = None,
    active: bool | None = typer.Option(None, "--on/--off", help="Off: the pair has no rule any more."),
    force: Force = False,
    workspace: Workspace = "main",
) -> None:
    """Make a new version of a rule.

    Example: kopitra rule change lead-prop-7 --set pace=close_only
    """
    run(_change(workspace, rule_id, fields_of(sizing, given), active, force))


async def _change(
    workspace: str, rule_id: str, given: Mapping[str, str], active: bool | None, force: bool
) -> None:
    async with open_house() as house:
        row = await change_fields(house, workspace, rule_id, given, active, force)
    say(f"rule {rule_id} is now version {row.version}: {rule_in_words(rule_from(row.body))}")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the current rules in words.

    Example: kopitra rule list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_rules(house.db, workspace)
    rows = [
        {
            "rule": row.rule_id,
            "leader": row.leader_id,
            "account": row.account_id,
            "copies": rule_in_words(rule_from(row.body)),
            "version": row.version,
            "on": row.active,
        }
        for row in found
    ]
    listing("Rules", rows, as_json=as_json, empty="None yet: run `kopitra rule create --help`.")


@app.command()
def show(
    rule_id: str = typer.Argument(metavar="RULE", help="Its id."), workspace: Workspace = "main"
) -> None:
    """Show every field of a rule as JSON.

    Example: kopitra rule show lead-prop-7
    """
    run(_show(workspace, rule_id))


async def _show(workspace: str, rule_id: str) -> None:
    async with open_house() as house:
        row = await the_rule(house, workspace, rule_id)
    give(encode(changed_rule(rule_from(row.body), {})).decode())


@app.command()
def versions(
    rule_id: str = typer.Argument(metavar="RULE", help="Its id."),
    workspace: Workspace = "main",
    as_json: AsJson = False,
) -> None:
    """List the versions of a rule, newest first, with who made them.

    Example: kopitra rule versions lead-prop-7
    """
    run(_versions(workspace, rule_id, as_json))


async def _versions(workspace: str, rule_id: str, as_json: bool) -> None:
    async with open_house() as house:
        await the_rule(house, workspace, rule_id)
        found = await rule_versions(house.db, workspace, rule_id)
    rows = [
        {
            "version": row.version,
            "copies": rule_in_words(rule_from(row.body)),
            "on": row.active,
            "at": row.created_at.isoformat(timespec="seconds"),
            "by": row.created_by,
        }
        for row in found
    ]
    listing(f"Versions of {rule_id}", rows, as_json=as_json, empty="")
