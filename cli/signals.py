"""`kopitra signal`: send one signal to a gateway as an EA would, and see what became of it."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from typing import Annotated, Final, cast

import httpx2
import msgspec
import typer

from cli.local.player import ea_headers
from cli.local.signal_view import SignalSeen, read_signal
from cli.rim import BROKEN, NO, WRONG_ARGUMENTS, AsJson, Stop, give, listing, pairs, progress, run, say
from cli.words import plain, sentence
from kopitra.clock import SystemClock

app = typer.Typer(no_args_is_help=True, help="Send a signal to a gateway, and look at one.")

SIGNALS: Final = "/trade-agent/v1/signals"
KEY: Final = "KOPITRA_KEY"
_HTTP_TIMEOUT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.05
#: bytes of a body that is read from a file
BODY_BYTES_MAX: Final = 65_536

Url = Annotated[str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")]
Account = Annotated[
    str,
    typer.Option(envvar="KOPITRA_ACCOUNT", help="X-TradeAgent-Account: the account the key was made for."),
]


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class _Accepted(msgspec.Struct, rename="camel"):
    signal_id: str


@app.command()
def send(
    action: str = typer.Argument(help="enter, add, reduce, exit, reverse, cancel, replace or flatten."),
    symbol: str = typer.Argument(help="A root such as ES, or a contract such as ESZ6."),
    side: str | None = typer.Option(None, help="buy or sell."),
    quantity: str | None = typer.Option(None, help="The leader's contracts."),
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="NAME=VALUE",
            help='Any other field; JSON values, such as stopLoss={"offset":10}.',
        ),
    ] = None,
    account: Account = "",
    url: Url = "http://127.0.0.1:8080",
    idempotency_key: str = typer.Option("", help="Left out: a fresh one, which is told."),
    wait: bool = typer.Option(False, "--wait", help="Show every follower's leg until nothing is under way."),
    timeout_s: float = typer.Option(10.0, help="How long --wait waits."),
    as_json: AsJson = False,
) -> None:
    """Send one signal. The key is read from KOPITRA_KEY, or asked for; never from an argument.

    Example: KOPITRA_KEY=... kopitra signal send enter ES --side buy --quantity 2 --account 50K-1 --wait
    """
    given: dict[str, object] = {"action": action, "symbol": symbol}
    given |= {name: value for name, value in (("side", side), ("quantity", quantity)) if value is not None}
    given |= {name: _json(text) for name, text in pairs(field or [], "--field").items()}
    gateway = Gateway(url, _key(), account)
    run(_send(gateway, given, idempotency_key or secrets.token_hex(8), timeout_s if wait else 0.0, as_json))


@app.command()
def show(
    signal_id: str = typer.Argument(metavar="SIGNAL", help="Its id."),
    account: Account = "",
    url: Url = "http://127.0.0.1:8080",
    as_json: AsJson = False,
) -> None:
    """Show a signal with every follower's leg: state, reason, orders and hop times.

    Example: KOPITRA_KEY=... kopitra signal show ea-0001 --account 50K-1
    """
    run(_show(Gateway(url, _key(), account), signal_id, as_json))


def _key() -> str:
    key = os.environ.get(KEY, "")
    if key:
        return key
    if not sys.stdin.isatty():
        raise Stop(f"The EA's key is needed: set {KEY} (`kopitra key issue` makes one).", WRONG_ARGUMENTS)
    return str(cast("object", typer.prompt("key", hide_input=True, err=True)))


def _json(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except json.JSONDecodeError:
        return text


class Gateway:
    """One EA's view of a gateway."""

    def __init__(self, url: str, key: str, account: str) -> None:
        if not account:
            raise Stop("Name the account: --account, or KOPITRA_ACCOUNT.", WRONG_ARGUMENTS)
        self._url = url
        self._headers = ea_headers(key, account)

    async def post(self, body: bytes, idempotency_key: str) -> httpx2.Response:
        """Send a signal. Raises Stop when no answer comes."""
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        return await self._exchange("POST", SIGNALS, body, headers)

    async def signal(self, signal_id: str) -> httpx2.Response:
        """Look at a signal. Raises Stop when no answer comes or it is a refusal."""
        answer = await self._exchange("GET", f"{SIGNALS}/{signal_id}", None, {})
        _refused(answer)
        return answer

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        try:
            async with httpx2.AsyncClient(
                base_url=self._url, timeout=_HTTP_TIMEOUT_S, trust_env=False
            ) as http:
                return await http.request(method, path, content=body, headers={**self._headers, **headers})
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Stop(
                f"No gateway answers at {self._url} ({type(error).__name__}): run `kopitra gateway`, or give --url.",
                BROKEN,
            ) from None


async def _send(
    gateway: Gateway, body: Mapping[str, object], idempotency_key: str, wait_s: float, as_json: bool
) -> None:
    stamped = {"occurredAt": SystemClock().now().isoformat(timespec="milliseconds"), **body}
    say(f"Idempotency-Key: {idempotency_key}")
    answer = await gateway.post(json.dumps(stamped).encode(), idempotency_key)
    _refused(answer)
    if answer.headers.get("Idempotent-Replayed") == "true":
        say("This key was used before: the answer is the first one again, and nothing was copied twice.")
    if not wait_s:
        give(answer.text)
        return
    signal_id = msgspec.json.decode(answer.content, type=_Accepted).signal_id
    with progress("waiting for the brokers"):
        raw = await _settled(gateway, signal_id, wait_s)
    _tell(raw, as_json)


async def _settled(gateway: Gateway, signal_id: str, wait_s: float) -> bytes:
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    while True:
        raw = (await gateway.signal(signal_id)).content
        if read_signal(raw).settled:
            return raw
        if loop.time() >= end:
            _tell(raw, as_json=False)
            raise Stop(f"Orders of {signal_id} are still under way after {wait_s:g} s.", NO)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _show(gateway: Gateway, signal_id: str, as_json: bool) -> None:
    _tell((await gateway.signal(signal_id)).content, as_json)


def _refused(answer: httpx2.Response) -> None:
    if answer.status_code < 400:
        return
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
        text = f"{problem.detail} [{problem.code}]"
    except msgspec.DecodeError:
        text = answer.text
    raise Stop(f"The gateway refuses with {answer.status_code}: {text}", NO)


def _tell(raw: bytes, as_json: bool) -> None:
    if as_json:
        give(raw.decode())
        return
    seen = read_signal(raw)
    act = " ".join(word for word in (seen.action, seen.side, plain(seen.quantity), seen.symbol) if word)
    say(f"{seen.signal_id}: {act}, #{seen.sequence}")
    listing(
        "Legs",
        _rows(seen),
        as_json=False,
        empty="Nobody follows this leader: run `kopitra rule create --help`.",
    )


def _rows(seen: SignalSeen) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for leg in seen.legs:
        orders = [f"{o.role} {o.side} {plain(o.qty)} {o.symbol} {o.state}" for o in leg.orders]
        fills = [f"{plain(o.cum_qty)} at {plain(o.avg_px)}" for o in leg.orders if o.cum_qty]
        hops = [f"{name} {o.hops[name] / 1000:.1f}" for o in leg.orders[:1] for name in o.hops]
        rows.append(
            {
                "account": leg.account_id,
                "decision": leg.outcome,
                "why": leg.detail or sentence(leg.reason),
                "orders": "; ".join(orders),
                "filled": "; ".join(fills),
                "ms": " ".join(hops),
            }
        )
    return rows
