"""A gateway process: stopped in a fan-out, asked twice, and its secrets kept to itself."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import psycopg
from psycopg import sql

from brokers._kit.sim_server import Request, Response, SimServer
from gateway_container.engine.recovery import decode_row, read_book
from kopitra.domain.journal import Reported
from kopitra.domain.orders import TERMINAL
from kopitra.store.hooks import HookRequest, issue_hook
from kopitra.store.journal_reader import replay
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.lease_table import read_lease
from kopitra.store.postgres_shelf import PostgresShelf
from tests.integration.gateway.process import Ea, House, ended, running
from tests.integration.gateway.world import FIRST, LEADER, SECOND, WORKSPACE, engine

#: milliseconds after which the slow simulators answer
SLOW_MS = 1_500
#: signals that are on their way when the process is told to stop
SIGNALS = 3


async def test_a_process_that_is_stopped_in_a_fan_out_loses_and_doubles_nothing(
    dsn: str, tmp_path: Path
) -> None:
    async with running(dsn, tmp_path) as (house, ea, gateway):
        await both_follow(house, ea)
        before = {name: len(await sim.placements()) for name, sim in house.on.sims.items()}
        for sim in house.on.sims.values():
            await sim.settings(ack_delay_ms=SLOW_MS, event_delay_ms=SLOW_MS)
        lists: list[str] = []
        for _ in range(SIGNALS):
            answer = await ea.post(action="add", side="buy", quantity=1)
            lists.append(str(answer["listId"]))
        for name, sim in house.on.sims.items():
            while len(await sim.placements()) == before[name]:
                await asyncio.sleep(0.01)

        await ended(gateway)

        lease = await read_lease(house.db, "main")
        assert lease is not None
        assert lease.released
        for sim in house.on.sims.values():
            await sim.settings(ack_delay_ms=0, event_delay_ms=0)
        async with engine(dsn, house.on) as world:
            assert not world.machine.lease.taken.dirty
            children = [child for name in lists for child in world.children(name)]
            assert len(children) == 2 * SIGNALS
            await world.until(lambda: all(c.state in TERMINAL for c in children), "the end of every order")

            # written and filled, or never written and told so: nothing between
            assert {c.state for c in children} <= {"filled", "skipped"}
            assert {c.reason for c in children if c.state == "skipped"} <= {"draining", "stopping"}
            await world.no_order_is_doubled()
            for account in ("a", "b"):
                asked = {row.cl_ord_id for row in await world.sim(account).placements(account)}
                mine = [c for c in children if c.intent.account_id == account]
                filled = {c.intent.cl_ord_id for c in mine if c.state == "filled"}
                assert filled == asked & {c.intent.cl_ord_id for c in mine}
                assert filled
                assert await world.sim(account).net(account) == world.held(account)
        book = await read_book(PostgresShelf(house.db), "main")
        assert book.orders.keys() >= {c.intent.cl_ord_id for c in children}


async def test_an_execution_that_is_posted_twice_is_one_row_and_one_answer(dsn: str, tmp_path: Path) -> None:
    async with running(dsn, tmp_path) as (house, ea, gateway):
        await both_follow(house, ea)
        key = await issue_key(
            house.db, house.sealer, KeyRequest(WORKSPACE, LEADER, "a", "key2"), datetime.now(UTC)
        )
        headers = {
            "Authorization": f"Bearer {key.token}", "X-TradeAgent-Account": "a", "Idempotency-Key": "e-1",
        }  # fmt: skip
        fill = {
            "orderId": "b-1", "execId": "x-callback", "execType": "trade", "ordStatus": "filled",
            "symbol": house.on.contract, "side": "buy", "lastQty": "1", "lastPx": "6800",
            "transactTime": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }  # fmt: skip

        async def post(body: dict[str, str], **other: str) -> httpx2.Response:
            return await ea.http.post(f"{ea.base}/executions", json=body, headers={**headers, **other})

        while (first := await post(fill)).status_code == 401:  # the new key is on its way to the process
            await asyncio.sleep(0.05)
        second, other_key = await post(fill), await post(fill, **{"Idempotency-Key": "e-2"})
        reused = await post({**fill, "execId": "x-other"})

        assert (first.status_code, second.status_code, other_key.status_code) == (200, 200, 200)
        assert first.content == second.content == other_key.content
        assert [r.headers.get("idempotent-replayed") for r in (first, second, other_key)] == [
            None, "true", "true",
        ]  # fmt: skip
        # a repeated callback disturbs nobody: the book is not read anew, signals are taken at once
        await ea.send(action="add", side="buy", quantity=1)
        assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
        await ended(gateway)
        rows = [decode_row(row) async for row in replay(house.db, "main")]
        told = Counter(entry.report.exec_id for entry in rows if isinstance(entry, Reported))
        assert (told["x-callback"], told["x-other"]) == (1, 0)


async def test_no_secret_is_in_a_log_metric_trace_row_or_answer(dsn: str, tmp_path: Path) -> None:
    """P11: the path of a webhook, a leader's key and what it signs with, a broker's login."""
    spans: list[bytes] = []
    collector = SimServer()
    collector.route("POST", "/v1/traces", lambda request: _collect(spans, request))
    await collector.start("127.0.0.1", 0)
    try:
        async with running(dsn, tmp_path, KOPITRA_OTLP_ENDPOINT=f"{collector.url}/v1/traces") as (
            house, ea, gateway,
        ):  # fmt: skip
            await house.follow("a")
            hook = await issue_hook(house.db, HookRequest(WORKSPACE, LEADER, "line", {}))
            secret = hook.path.partition("_")[2]
            url = f"{ea.base}/webhooks/{hook.path}"
            while (taken := await ea.http.post(url, content=b"long ES q=1")).status_code != 202:
                assert taken.status_code in (401, 404), taken.text
                await asyncio.sleep(0.05)
            answers = [taken, await ea.http.post(url, content=b"long ES q=1")]
            answers.append(await ea.http.post(url, content=b"what is this"))
            answers.append(await ea.http.get(url))
            answers.append(await ea.http.post(f"{url}x", content=b"long ES q=1"))
            answers.append(await ea.http.post(f"{url}/more", content=b"long ES q=1"))
            assert [a.status_code for a in answers[:2]] == [202, 202]
            assert all(400 <= a.status_code < 500 for a in answers[2:]), [a.status_code for a in answers]
            await ea.send(action="add", side="buy", quantity=1)  # by the key
            answers.append(await ea.http.post(f"{ea.base}/signals", json={}))
            answers.append(await ea.http.get(f"{ea.base}/health"))
            metrics = await ea.http.get(ea.base.removesuffix("/trade-agent/v1") + "/metrics")
            log = await ended(gateway)
            journal = b"".join([row.payload async for row in replay(house.db, "main")])
            tables = await everything_stored(dsn)
            seen = {"log": log, "metrics": metrics.content, "journal": journal, "tables": tables}
            seen |= {"traces": b"".join(spans), "answers": b"".join(a.content for a in answers)}
    finally:
        await collector.stop()
    assert b"signal" in seen["traces"]
    assert b"webhook" in seen["metrics"]
    assert hook.row.hook_id.encode() in seen["tables"]
    secrets = [secret, *house.canaries]
    assert len(secrets) >= 4  # of the hook, the leader's key, its signature, a broker's login
    # as text, and as a column of bytes shows it
    forms = [form for text in secrets for form in (text.encode(), text.encode().hex().encode())]
    found = [(form[:4], place) for form in forms for place, text in seen.items() if form in text]
    assert found == []


def _collect(spans: list[bytes], request: Request) -> Response:
    spans.append(request.body)
    return Response(b"", content_type=b"application/x-protobuf")


async def everything_stored(dsn: str) -> bytes:
    """Every row of every table, as text."""
    found: list[object] = []
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        tables = await connection.execute("select tablename from pg_tables where schemaname = 'public'")
        for (name,) in await tables.fetchall():
            rows = await connection.execute(
                sql.SQL("select t::text from {} t").format(sql.Identifier(str(name)))
            )
            found += await rows.fetchall()
    return repr(found).encode()


async def both_follow(house: House, ea: Ea) -> None:
    """Two followers that the process has taken up."""
    for account in ("a", "b"):
        await house.follow(account)
    while 0 in [await house.on.sims[FIRST].net("a"), await house.on.sims[SECOND].net("b")]:
        await ea.send(action="add", side="buy", quantity=1)
