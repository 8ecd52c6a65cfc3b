"""`kopitra doubt`: orders that nobody knows the fate of, as the running gateway has them."""

import asyncio
import os
from typing import Annotated, Final

import httpx2
import msgspec
import typer

from cli.rim import NO, WRONG_ARGUMENTS, AsJson, Stop, Yes, listing, say

app: Final = typer.Typer(no_args_is_help=True, help="Orders in doubt: list them, park them, settle them.")

#: the environment variable with an operator's key
OPERATOR_KEY: Final = "KOPITRA_OPERATOR_KEY"
#: seconds for one answer of the gateway
_HTTP_TIMEOUT_S: Final = 5.0

Url = Annotated[str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")]
Reason = Annotated[str, typer.Option(help="Why; stands in the journal beside who.")]
_HERE: Final = "http://127.0.0.1:8080"


class _Doubt(msgspec.Struct, rename="camel"):
    cl_ord_id: str
    account_id: str
    role: str
    state: str
    symbol: str
    side: str
    qty: str
    reason: str = ""


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


@app.command("list")
def show(url: Url = _HERE, as_json: AsJson = False) -> None:
    """What is in doubt now, and what people have taken over.

    Example: kopitra doubt list
    """
    found = msgspec.json.decode(_ask(url, "GET", "/doubts"), type=list[_Doubt])
    rows = [msgspec.structs.asdict(doubt) for doubt in found]
    listing("Orders in doubt", rows, as_json=as_json, empty="Nothing is in doubt.")


@app.command()
def park(cl_ord_id: str, reason: Reason, url: Url = _HERE) -> None:
    """Take an order over: it is looked up no more, and its contract takes no entries until it is settled.

    Example: kopitra doubt park kp0123456789abcdef0123-e --reason "I call the broker"
    """
    _decide(url, cl_ord_id, {"verdict": "park", "reason": reason})


@app.command()
def settle(cl_ord_id: str, reason: Reason, url: Url = _HERE, yes: Yes = False) -> None:
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
    answer = _ask(url, "POST", f"/doubts/{cl_ord_id}", msgspec.json.encode(body))
    doubt = msgspec.json.decode(answer, type=_Doubt)
    say(f"{doubt.cl_ord_id} is {doubt.state.replace('_', ' ')}")


def _ask(url: str, method: str, path: str, body: bytes = b"") -> bytes:
    token = os.environ.get(OPERATOR_KEY, "")
    if not token:
        raise Stop(f"Set {OPERATOR_KEY} to an operator's token (`kopitra operator create`).", WRONG_ARGUMENTS)
    return asyncio.run(_asked(f"{url}/ops/v1{path}", method, body, token))


async def _asked(url: str, method: str, body: bytes, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_HTTP_TIMEOUT_S) as http:
            answer = await http.request(method, url, content=body, headers=headers)
    except httpx2.HTTPError as error:
        raise Stop(f"No gateway answers there ({error}): name it by --url or start it.") from None
    if answer.status_code < 300:
        return answer.content
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"the gateway answered {answer.status_code}")
    raise Stop(f"{problem.detail} [{problem.code}]", NO)
