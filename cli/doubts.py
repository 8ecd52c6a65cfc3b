"""`kopitra doubt`: orders that nobody knows the fate of, as the running gateway has them."""

from typing import Annotated, Final

import msgspec
import typer

from cli.gateway_call import HERE, Url, ask
from cli.rim import AsJson, Yes, listing, say

app: Final = typer.Typer(no_args_is_help=True, help="Orders in doubt: list them, park them, settle them.")

Reason = Annotated[str, typer.Option(help="Why; stands in the journal beside who.")]


class _Doubt(msgspec.Struct, rename="camel"):
    cl_ord_id: str
    account_id: str
    role: str
    state: str
    symbol: str
    side: str
    qty: str
    reason: str = ""


@app.command("list")
def show(url: Url = HERE, as_json: AsJson = False) -> None:
    """What is in doubt now, and what people have taken over.

    Example: kopitra doubt list
    """
    found = msgspec.json.decode(ask(url, "GET", "/doubts"), type=list[_Doubt])
    rows = [msgspec.structs.asdict(doubt) for doubt in found]
    listing("Orders in doubt", rows, as_json=as_json, empty="Nothing is in doubt.")


@app.command()
def park(cl_ord_id: str, reason: Reason, url: Url = HERE) -> None:
    """Take an order over: it is looked up no more, and its contract takes no entries until it is settled.

    Example: kopitra doubt park kp0123456789abcdef0123-e --reason "I call the broker"
    """
    _decide(url, cl_ord_id, {"verdict": "park", "reason": reason})


@app.command()
def settle(cl_ord_id: str, reason: Reason, url: Url = HERE, yes: Yes = False) -> None:
    """Say that the broker never had an order, because its own screen shows so; its exits are then closed anew.

    An order that the broker does have is settled by its own report: post the execution, or wait for the next read.

    Example: kopitra doubt settle kp0123456789abcdef0123-e --reason "not in their order history"
    """
    if not yes:
        typer.confirm(
            "Did you see on the broker's own screen that it never had this order?", abort=True, err=True
        )
    _decide(url, cl_ord_id, {"verdict": "not_placed", "reason": reason, "confirm": True})


def _decide(url: str, cl_ord_id: str, body: dict[str, object]) -> None:
    answer = ask(url, "POST", f"/doubts/{cl_ord_id}", msgspec.json.encode(body))
    doubt = msgspec.json.decode(answer, type=_Doubt)
    say(f"{doubt.cl_ord_id} is {doubt.state.replace('_', ' ')}")
