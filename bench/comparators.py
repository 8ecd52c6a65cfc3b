"""What a careful reader would write first, kept honest and small, to be compared with.

`python -m bench.comparators KIND --broker PORT --n N [--dsn DSN]`
  empty      a FastAPI route that decodes the signal with msgspec and answers: the server's own ceiling
  aiohttp    FastAPI, pydantic body, sizing per follower, one aiohttp session, no store
  httpx-db   FastAPI, pydantic body, one shared httpx2 client, and a textbook's database habits: insert the
             signal, read the followers, insert each order before and update it after it is sent
"""

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

import aiohttp
import httpx2
import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict

ROUTE = "/trade-agent/v1/signals"
POOL_CONNECTIONS = 10
DDL = """
drop table if exists shop_follower, shop_signal, shop_order;
create table shop_follower(id integer primary key, multiplier numeric not null);
create table shop_signal(id text primary key, body jsonb not null);
create table shop_order(
    id text primary key, follower integer not null, body jsonb not null, state text not null
);
"""


class SignalBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    signalId: str  # noqa: N815 - the wire's spelling
    action: str
    symbol: str
    side: str
    quantity: Decimal
    ordType: str  # noqa: N815
    timeInForce: str  # noqa: N815
    leaderOrderId: str  # noqa: N815
    price: str
    strategy: str
    comment: str
    occurredAt: str  # noqa: N815


class FastSignal(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    signal_id: str
    action: str
    symbol: str
    side: str
    quantity: Decimal
    ord_type: str
    time_in_force: str
    leader_order_id: str
    price: str
    strategy: str
    comment: str
    occurred_at: str


@dataclass(frozen=True, slots=True)
class Follower:
    number: int
    multiplier: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    follower: int
    text: str


def followers(n: int) -> list[Follower]:
    return [Follower(number, Decimal(1 + number % 3)) for number in range(n)]


def size(signal: SignalBody, follower: Follower) -> Order:
    quantity = (signal.quantity * follower.multiplier).quantize(Decimal(1), rounding=ROUND_DOWN)
    order_id = f"{signal.signalId}-{follower.number}"
    text = json.dumps(
        {
            "accountId": follower.number,
            "contractId": "CON.F.US.EP.Z26",
            "type": 2,
            "side": 0 if signal.side == "buy" else 1,
            "size": int(quantity),
            "customTag": order_id,
        }
    )
    return Order(order_id, follower.number, text)


HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer " + "0123456789abcdef" * 8}


def empty_app() -> FastAPI:
    app = FastAPI()
    decode = msgspec.json.Decoder(FastSignal).decode

    async def accept(request: Request) -> Response:
        signal = decode(await request.body())
        return Response(f'{{"signalId":"{signal.signal_id}"}}', 202, media_type="application/json")

    app.add_api_route(ROUTE, accept, methods=["POST"])
    return app


def aiohttp_app(broker_port: int, n: int) -> FastAPI:
    url, everyone = f"http://127.0.0.1:{broker_port}/api/Order/place", followers(n)
    opened: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncGenerator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=n), headers=HEADERS) as session:
            opened.append(session)
            yield

    async def post(order: Order) -> None:
        async with opened[0].post(url, data=order.text) as answer:
            await answer.json()

    async def accept(signal: SignalBody) -> dict[str, int]:
        await asyncio.gather(*(post(size(signal, follower)) for follower in everyone))
        return {"accepted": len(everyone)}

    app = FastAPI(lifespan=life)
    app.add_api_route(ROUTE, accept, methods=["POST"], status_code=202)
    return app


def httpx_db_app(broker_port: int, n: int, dsn: str) -> FastAPI:
    url = f"http://127.0.0.1:{broker_port}/api/Order/place"
    limits = httpx2.Limits(max_connections=n, max_keepalive_connections=n)
    client = httpx2.AsyncClient(limits=limits, headers=HEADERS, trust_env=False)
    pool = AsyncConnectionPool(
        dsn, min_size=POOL_CONNECTIONS, max_size=POOL_CONNECTIONS, open=False, kwargs={"autocommit": True}
    )

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncGenerator[None]:
        async with client, pool:
            await pool.wait()
            async with pool.connection() as conn:
                await conn.execute(DDL)
                for one in followers(n):
                    await conn.execute(
                        "insert into shop_follower values (%s, %s)", (one.number, one.multiplier)
                    )
            yield

    async def place(order: Order) -> None:
        row = (order.order_id, order.follower, order.text)
        async with pool.connection() as conn:
            await conn.execute("insert into shop_order values (%s, %s, %s, 'pending')", row)
        (await client.post(url, content=order.text)).json()
        async with pool.connection() as conn:
            await conn.execute("update shop_order set state = 'sent' where id = %s", (order.order_id,))

    async def accept(signal: SignalBody) -> dict[str, int]:
        async with pool.connection() as conn:
            row = (signal.signalId, signal.model_dump_json())
            await conn.execute("insert into shop_signal values (%s, %s)", row)
            found = await (await conn.execute("select id, multiplier from shop_follower")).fetchall()
        orders = [size(signal, Follower(number, multiplier)) for number, multiplier in found]
        await asyncio.gather(*map(place, orders))
        return {"accepted": len(orders)}

    app = FastAPI(lifespan=life)
    app.add_api_route(ROUTE, accept, methods=["POST"], status_code=202)
    return app


class Announcing(uvicorn.Server):
    """Says on stdout that the application is up, as every process of the bench does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("empty", "aiohttp", "httpx-db"))
    parser.add_argument("--broker", type=int, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--dsn", default="")
    args = parser.parse_args()
    if args.kind == "empty":
        app = empty_app()
    elif args.kind == "aiohttp":
        app = aiohttp_app(args.broker, args.n)
    else:
        app = httpx_db_app(args.broker, args.n, args.dsn)
    door = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    Announcing(config).run([door])


if __name__ == "__main__":
    main()
