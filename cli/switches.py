"""`kopitra switch`: kill switches, through a gateway. Without one `kopitra flatten` stops and closes.

The global switch stops every workspace, so no operator of one may lift it: that is for who can reach the database.
"""

from dataclasses import replace
from typing import Annotated, get_args

import msgspec
import typer

from cli.house import House, open_house
from cli.operator_door import checked, operator_door
from cli.rim import NO, WRONG_ARGUMENTS, AsJson, Stop, Yes, listing, run, say
from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.store.switches import SwitchRow, read_switch, set_switch

app = typer.Typer(no_args_is_help=True, help="Kill switches: stop a scope, and lift it again.")

Url = Annotated[str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")]
_HERE = "http://127.0.0.1:8080"


class _Switch(msgspec.Struct, rename="camel"):
    scope: str
    scope_id: str
    state: str
    reason: str
    who: str
    epoch: int
    lifting: bool = False


@app.command("set")
def set_one(
    scope: Annotated[str, typer.Option(help="account, leader, broker or workspace.")],
    scope_id: Annotated[str, typer.Option("--id", help="Its id.")],
    state: Annotated[str, typer.Option(help="active, reducing (exits only) or halted.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the journal.")],
    url: Url = _HERE,
    yes: Yes = False,
) -> None:
    """Set or lift one switch. Lifting asks once more, and starts in reducing until the accounts were compared.

    Example: kopitra switch set --scope account --id 50K-1 --state halted --reason "looks wrong"
    """
    if scope not in get_args(SwitchScope) or state not in get_args(SwitchState):
        known = f"{', '.join(get_args(SwitchScope))}; {', '.join(get_args(SwitchState))}"
        raise Stop(f"There is no switch {scope} {state}; known: {known}.", WRONG_ARGUMENTS)
    loosens = state != "halted"
    if state == "active" and not yes:
        typer.confirm(f"Let entries of {scope} {scope_id} out again?", abort=True, err=True)
    body: dict[str, object] = {
        "scope": scope,
        "scopeId": scope_id,
        "state": state,
        "reason": reason,
        "confirm": loosens,
    }
    run(_set(url, body))


async def _set(url: str, body: dict[str, object]) -> None:
    async with operator_door(url) as http:
        made = msgspec.json.decode(checked(await http.post("/kill-switches", json=body)), type=_Switch)
    wait = "; it becomes active once its accounts were compared with their brokers" if made.lifting else ""
    say(f"{made.scope} {made.scope_id} is {made.state}{wait}")


@app.command("lift-global")
def lift_global(
    reason: Annotated[str, typer.Option(help="Why; stands in the journal.")], yes: Yes = False
) -> None:
    """Lift the switch that stops all workspaces. Entries stay stopped until the accounts were compared.

    An invariant that broke sets it, and `kopitra flatten --scope global`: find out why first.

    Example: kopitra switch lift-global --reason "back on the build of Tuesday, all accounts compared"
    """
    if not yes:
        typer.confirm("Let entries of all workspaces out again?", abort=True, err=True)
    run(_lift_global(reason))


async def _lift_global(reason: str) -> None:
    async with open_house() as house:
        stands = await read_switch(house.db, "global", "")
        if stands is None or stands.state == "active":
            say("the global switch is not set")
            return
        if not await set_switch(house.db, _lifted(stands, reason, house)):
            raise Stop("Somebody else changed the switch in this moment: look at it, then try again.", NO)
    say("it is lifted once the gateway has compared the accounts with their brokers: kopitra switch list")


def _lifted(stands: SwitchRow, reason: str, house: House) -> SwitchRow:
    return replace(
        stands, state="active", epoch=stands.epoch + 1, reason=reason, who=house.who, at=house.clock.now()
    )


@app.command("list")
def list_all(url: Url = _HERE, as_json: AsJson = False) -> None:
    """Show every switch that was ever set in the operator's workspace.

    Example: kopitra switch list
    """
    run(_list(url, as_json))


async def _list(url: str, as_json: bool) -> None:
    async with operator_door(url) as http:
        rows = msgspec.json.decode(checked(await http.get("/kill-switches")), type=list[_Switch])
    shown = [{f: getattr(row, f) for f in row.__struct_fields__} for row in rows]
    listing("Kill switches", shown, as_json=as_json, empty="None was ever set.")
