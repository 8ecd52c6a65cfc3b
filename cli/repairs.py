"""`kopitra repairs`: drift between accounts and their brokers, and its repair in two steps."""

import asyncio
import os
from typing import Annotated, Final

import httpx2
import msgspec
import typer

from cli.rim import BROKEN, NO, WRONG_ARGUMENTS, AsJson, Stop, Yes, give, listing, say

app: Final = typer.Typer(
    no_args_is_help=True, help="Repair drift: preview the orders, then approve that very plan; lift blocks."
)

#: the environment variable with an operator's key
OPERATOR_KEY: Final = "KOPITRA_OPERATOR_KEY"
#: seconds for one answer of the gateway: it reads every account at its broker
_HTTP_TIMEOUT_S: Final = 30.0
_HERE: Final = "http://127.0.0.1:8080"

Url = Annotated[str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")]


class _Order(msgspec.Struct, rename="camel"):
    side: str
    qty: str
    price_low: str | None = None
    price_high: str | None = None
    price_age_ms: int | None = None


class _Check(msgspec.Struct):
    rule: str
    verdict: str
    detail: str


class _Step(msgspec.Struct, rename="camel"):
    account_id: str
    symbol: str
    leader: str
    drift: str
    target: str
    held: str
    broker: str
    verdict: str
    detail: str = ""
    order: _Order | None = None
    checks: list[_Check] = []


class _Waiting(msgspec.Struct, rename="camel"):
    account_id: str
    symbol: str
    detail: str


class _Plan(msgspec.Struct, rename="camel"):
    plan_id: str
    applied: bool
    steps: list[_Step]
    waiting: list[_Waiting] = []


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


@app.command()
def preview(
    account: Annotated[
        list[str] | None, typer.Option("--account", help="Only these (repeatable); left out: all of yours.")
    ] = None,
    leader: Annotated[str, typer.Option(help="Only what is held because of this leader.")] = "",
    policy: Annotated[
        str, typer.Option(help="reduce, top_up, flatten or ignore_until_flat, instead of each rule's own.")
    ] = "",
    include_closed_by_hand: Annotated[
        bool, typer.Option("--include-closed-by-hand", help="Open again what a person closed.")
    ] = False,
    url: Url = _HERE,
    as_json: AsJson = False,
) -> None:
    """Read the accounts and show what differs, with the orders that would end it. Nothing is sent.

    Example: kopitra repairs preview --account prop-7 --policy top_up
    """
    asked: dict[str, object] = {"includeClosedByHand": include_closed_by_hand}
    given = {"accounts": account, "leader": leader, "policy": policy}
    answer = _ask(url, "/repairs", asked | {name: value for name, value in given.items() if value})
    if as_json:
        give(answer.decode())
        return
    plan = msgspec.json.decode(answer, type=_Plan)
    _show(plan)
    if any(step.order is not None for step in plan.steps):
        say(f"To send exactly these orders: kopitra repairs apply {plan.plan_id}")


@app.command("apply")
def approve(plan_id: str, url: Url = _HERE, yes: Yes = False, as_json: AsJson = False) -> None:
    """Send the orders of a previewed plan, unless the world has changed since; twice it changes nothing.

    Example: kopitra repairs apply rp0123456789abcdef0123
    """
    if not yes:
        typer.confirm(f"Send the orders of {plan_id}?", abort=True, err=True)
    answer = _ask(url, "/repairs", {"planId": plan_id})
    if as_json:
        give(answer.decode())
        return
    plan = msgspec.json.decode(answer, type=_Plan)
    _show(plan)
    say("Sent." if plan.applied else "Nothing was to be sent.")


@app.command()
def lift(
    account: str,
    reason: Annotated[str, typer.Option(help="Why; stands in the journal beside who.")],
    symbol: Annotated[str, typer.Option(help="Contract such as ESZ6; left out: the whole account.")] = "",
    url: Url = _HERE,
) -> None:
    """Let entries of an account, or of one contract there, go on; foreign contracts there are accepted.

    Example: kopitra repairs lift prop-7 --symbol ESZ6 --reason "a hedge of mine"
    """
    _ask(url, "/entry-blocks/lift", {"accountId": account, "symbol": symbol, "reason": reason})
    say(f"Entries of {account} {symbol} go on.".replace("  ", " "))


def _show(plan: _Plan) -> None:
    rows = [
        {
            "account": step.account_id,
            "contract": step.symbol,
            "leader": step.leader,
            "drift": step.drift.replace("_", " "),
            "target": step.target,
            "held": step.held,
            "broker": step.broker,
            "order": _order(step),
            "why": step.detail,
        }
        for step in plan.steps
    ]
    listing(f"Repair {plan.plan_id}", rows, as_json=False, empty="Nothing differs.")
    checks = [
        {
            "account": s.account_id,
            "contract": s.symbol,
            "rule": c.rule,
            "verdict": c.verdict,
            "says": c.detail,
        }
        for s in plan.steps
        for c in s.checks
    ]
    if checks:
        listing("What each rule says", checks, as_json=False, empty="")
    for wait in plan.waiting:
        say(f"{wait.account_id} {wait.symbol} cannot be judged now: {wait.detail}")


def _order(step: _Step) -> str:
    if step.order is None:
        return step.verdict
    order = step.order
    band = f" at {order.price_low} to {order.price_high}" if order.price_low and order.price_high else ""
    age = f" (price {order.price_age_ms / 1000:.0f} s old)" if band and order.price_age_ms is not None else ""
    return f"{order.side} {order.qty}{band}{age}"


def _ask(url: str, path: str, body: dict[str, object]) -> bytes:
    token = os.environ.get(OPERATOR_KEY, "")
    if not token:
        raise Stop(f"Set {OPERATOR_KEY} to an operator's token (`kopitra operator create`).", WRONG_ARGUMENTS)
    return asyncio.run(_asked(f"{url}/ops/v1{path}", msgspec.json.encode(body), token))


async def _asked(url: str, body: bytes, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_HTTP_TIMEOUT_S) as http:
            answer = await http.post(url, content=body, headers=headers)
    except httpx2.HTTPError as error:
        raise Stop(f"No gateway answers there ({error}): name it by --url or start it.", BROKEN) from None
    if answer.status_code < 300:
        return answer.content
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"the gateway answered {answer.status_code}")
    raise Stop(f"{problem.detail} [{problem.code}]", NO)
