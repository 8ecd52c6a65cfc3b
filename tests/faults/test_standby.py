"""A replica without the lease: it takes signals for the holder, once each, and takes over (R-082, R-027, R-089)."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from gateway_container.operators import add_operator, make_operator
from kopitra.domain.journal import AlertRaised, SwitchChanged
from kopitra.store.builds import Verdict, judge
from kopitra.store.inbox import waiting
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.replicas import live_replicas
from tests.faults.handover_fleet import BASE, Fleet, Gateway, fleet, gateway, until
from tests.integration.gateway.process import ACCOUNT
from tests.integration.gateway.world import LEADER, WORKSPACE

CALM_S = 30.0


def lead(one: Fleet, *gateways: Gateway) -> None:
    one.doors = [(g.http, BASE) for g in gateways]


async def planned(one: Fleet, count: int) -> None:
    async with asyncio.timeout(10):
        while sum((await one.planned()).values()) < count:
            await asyncio.sleep(0.02)


async def two(stack: AsyncExitStack, one: Fleet, **settings: object) -> tuple[Gateway, Gateway]:
    """A holder that gives its lease up only where a test asks it to: a pause of the machine does not end it."""
    holder = await stack.enter_async_context(gateway(one.dsn, one.folder, lease_ttl_s=CALM_S))
    standby = await stack.enter_async_context(gateway(one.dsn, one.folder, lease_ttl_s=CALM_S, **settings))
    assert (holder.leads, standby.leads) == (True, False)
    return holder, standby


async def test_a_standby_queues_a_signal_and_the_holder_plans_it_once(dsn: str, tmp_path: Path) -> None:
    """R-082, R-027: durable at any door, planned by one."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        _, standby = await two(stack, one)
        lead(one, standby)

        told = await one.send(action="enter", side="buy", quantity=1)

        assert told.status == "queued"
        assert (await one.planned())[
            told.signal_id
        ] == 1  # planned before the answer: nothing can overtake it
        assert await waiting(one.house.db, "main") == []
        assert len(await one.children(told.signal_id)) == 2
        health = (await standby.http.get(f"{BASE}/health")).json()
        assert (health["status"], health["role"], health["epoch"]) == ("healthy", "standby", 1)


async def test_a_repeated_call_gets_the_first_answer_at_every_door(dsn: str, tmp_path: Path) -> None:
    """R-024, R-082: the key is stored with the row."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        headers = {
            "Authorization": f"Bearer {one.house.token}",
            "X-TradeAgent-Account": ACCOUNT,
            "Idempotency-Key": "same",
        }
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = {"symbol": "ES", "action": "enter", "side": "buy", "quantity": 1, "occurredAt": now}

        async def post(at: Gateway, **more: object) -> httpx2.Response:
            return await at.http.post(f"{BASE}/signals", json={**body, **more}, headers=headers)

        first, *again = [await post(at) for at in (standby, standby, holder)]
        other = [await post(at, quantity=2) for at in (standby, holder)]

        assert (first.status_code, first.json()["status"]) == (202, "queued")
        assert [(a.status_code, a.content) for a in again] == [(202, first.content)] * 2
        assert [a.headers["idempotent-replayed"] for a in again] == ["true", "true"]
        assert [(o.status_code, o.json()["code"]) for o in other] == [(422, "idempotency-key-reused")] * 2
        assert list((await one.planned()).values()) == [1]

        headers["Idempotency-Key"] = "another"
        twice = await post(standby, signalId=first.json()["signalId"])
        assert (twice.status_code, twice.json()["code"]) == (409, "duplicate-signal")
        never = await post(standby, signalId="never", side="up")
        assert never.status_code == 422


async def test_the_same_signal_at_two_doors_at_once_is_planned_once(dsn: str, tmp_path: Path) -> None:
    """R-027, I-15: whoever comes second hears 202 again, 409 or 503, and nothing is planned twice.
    The first is told fifty times."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        gateways = await two(stack, one)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for number in range(10):
            body = {"symbol": "ES", "action": "enter", "side": "buy", "quantity": 1, "occurredAt": now}
            headers = {
                "Authorization": f"Bearer {one.house.token}",
                "X-TradeAgent-Account": ACCOUNT,
                "Idempotency-Key": f"race-{number}",
            }
            posts = gateways * (1 if number else 25)
            answers = await asyncio.gather(
                *(g.http.post(f"{BASE}/signals", json=body, headers=headers) for g in posts)
            )
            assert len({a.content for a in answers if a.status_code == 202}) == 1
            assert {a.status_code for a in answers} <= {202, 409, 503}
            assert 202 in {a.status_code for a in answers}
        await planned(one, 10)
        await until(lambda: gateways[0].replica.machine is not None, "the holder")
        assert sorted((await one.planned()).values()) == [1] * 10
        await one.nothing_is_doubled_or_lost()


async def test_what_waits_in_the_inbox_is_planned_in_order_by_who_takes_over(
    dsn: str, tmp_path: Path
) -> None:
    """R-082, R-087: signals during the dark are queued; the successor plans them before its own door opens."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        lead(one, holder)
        await one.send(action="enter", side="buy", quantity=1)
        lead(one, standby)
        assert standby.replica.machine is None
        stopping = asyncio.ensure_future(holder.stopped())
        names = [
            (await one.send(action=act, **more)).signal_id
            for act, more in (("add", {"side": "buy", "quantity": 1}), ("exit", {}))
        ]
        assert await stopping == 0
        await until(lambda: standby.leads, "the take-over")
        await planned(one, 3)

        order = [name for name in await one.planned() if name in names]
        assert order == names
        assert standby.replica.machine is not None
        assert not standby.replica.machine.lease.taken.dirty
        await one.nothing_is_doubled_or_lost()


async def test_an_execution_posted_to_a_standby_is_recorded_by_the_holder(dsn: str, tmp_path: Path) -> None:
    """R-040, R-082."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        _, standby = await two(stack, one)
        key = await issue_key(
            one.house.db, one.house.sealer, KeyRequest(WORKSPACE, LEADER, "a", "key2"), datetime.now(UTC)
        )
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fill = {
            "orderId": "b-1", "execId": "x-1", "execType": "trade", "ordStatus": "filled",
            "symbol": one.house.on.contract, "side": "buy", "lastQty": "1", "lastPx": "6800", "transactTime": now,
        }  # fmt: skip
        headers = {
            "Authorization": f"Bearer {key.token}", "X-TradeAgent-Account": "a", "Idempotency-Key": "e",
        }  # fmt: skip

        async def post(name: str) -> httpx2.Response:
            answer = await standby.http.post(
                f"{BASE}/executions", json=fill, headers={**headers, "Idempotency-Key": name}
            )
            while answer.status_code == 401:  # the new key is on its way
                await asyncio.sleep(0.05)
                answer = await post(name)
            return answer

        answers = [await post("e-1"), await post("e-1"), await post("e-2")]
        assert [(a.status_code, a.json()) for a in answers] == [(200, {"status": "recorded"})] * 3
        book = await one.book()
        assert book.positions["a", one.house.on.contract].qty == 1


async def test_a_switch_set_at_a_standby_is_in_force_at_the_holder_when_it_answers(
    dsn: str, tmp_path: Path
) -> None:
    """R-091, R-092: by the table and its notice; a flatten has to find the holder."""
    grant, token = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
    add_operator(tmp_path / "operators.json", grant)
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        headers = {"Authorization": f"Bearer {token}"}
        switch = {"scope": "account", "scopeId": "a", "state": "halted", "reason": "test"}

        answer = await standby.http.post("/ops/v1/kill-switches", json=switch, headers=headers)

        assert answer.status_code == 200, answer.text
        assert holder.replica.machine is not None
        switches = holder.replica.machine.state.book.switches
        assert switches.epoch("account", "a") == answer.json()["epoch"] == 1
        lead(one, holder)
        told = await one.send(action="enter", side="buy", quantity=1)
        assert {c.intent.account_id for c in await one.children(told.signal_id)} == {"b"}
        shown = await standby.http.get("/ops/v1/kill-switches", headers=headers)
        assert [(s["scopeId"], s["state"]) for s in shown.json()] == [("a", "halted")]
        assert any(isinstance(e, SwitchChanged) and e.switch.who == "ann" for e in await one.journal())

        order = {"scope": "account", "scopeId": "a", "reason": "test"}
        refused = await standby.http.post("/ops/v1/flatten", json=order, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "not-the-holder")
        assert holder.name in refused.json()["detail"]


async def test_a_standby_shows_what_the_holder_has_made_durable(dsn: str, tmp_path: Path) -> None:
    """R-082: reads at any door."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        lead(one, holder)
        told = await one.send(action="enter", side="buy", quantity=1)
        assert holder.replica.machine is not None
        book = holder.replica.machine.state.book
        await until(lambda: len(book.positions) == 2, "fills")
        await until(lambda: len(standby.replica.standby.state.book.positions) == 2, "the standby's book")
        shown = await standby.http.get(
            f"{BASE}/signals/{told.signal_id}",
            headers={"Authorization": f"Bearer {one.house.token}", "X-TradeAgent-Account": ACCOUNT},
        )
        assert shown.status_code == 200
        assert {order["state"] for leg in shown.json()["legs"] for order in leg["orders"]} == {"filled"}


async def test_a_queued_signal_that_is_refused_raises_an_alert(dsn: str, tmp_path: Path) -> None:
    """P3: never silent. The leader went while its signal waited."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        lead(one, standby)
        assert holder.replica.machine is not None
        config = holder.replica.machine.state.config
        object.__setattr__(config, "leaders", {})

        told = await one.send(action="enter", side="buy", quantity=1)

        assert told.status == "queued"
        async with asyncio.timeout(10):
            while not (
                alerts := [
                    e
                    for e in await one.journal()
                    if isinstance(e, AlertRaised) and e.code == "queued-refused"
                ]
            ):
                await asyncio.sleep(0.02)
        assert told.signal_id in alerts[0].text
        assert await waiting(one.house.db, "main") == []


async def test_a_build_that_is_not_allowed_stands_by_and_sends_nothing(dsn: str, tmp_path: Path) -> None:
    """R-089: the first build lets itself in, another one needs a verdict, going back needs none."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one, build="new")
        rows = {r.build: r for r in await live_replicas(one.house.db, "main")}
        while len(rows) < 2:
            await asyncio.sleep(0.05)
            rows = {r.build: r for r in await live_replicas(one.house.db, "main")}
        assert {(b, r.role) for b, r in rows.items()} == {("dev", "holder"), ("new", "standby")}
        assert len({r.config_hash for r in rows.values()}) == 1

        assert await holder.stopped() == 0
        await until(lambda: "builds allow new" in standby.replica._note, "the verdict on the build")
        lead(one, standby)
        told = await one.send(action="exit")
        assert told.status == "queued"
        assert (await one.planned())[told.signal_id] == 0
        health = await standby.http.get(f"{BASE}/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")

        await judge(one.house.db, Verdict("new", True, "release", "ann"), datetime.now(UTC))
        await until(lambda: standby.leads, "the take-over")
        await planned(one, 1)
        assert await standby.stopped() == 0
        back = await stack.enter_async_context(gateway(dsn, tmp_path))
        assert back.leads


@pytest.mark.parametrize("entry", ["FromTheFuture", "SignalPlanned"])
async def test_a_replica_that_cannot_read_the_journal_does_not_take_over(
    dsn: str, tmp_path: Path, entry: str
) -> None:
    """R-089: the claimer must understand what the last holder wrote."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, standby = await two(stack, one)
        assert holder.replica.machine is not None
        from kopitra.store.drafts import Draft

        draft = Draft("trade.signals", entry, WORKSPACE, datetime.now(UTC), b'{"new":1}')
        await holder.replica.machine.writer.append([draft])
        await until(lambda: standby.replica.standby.unfit, "the row that does not read back")
        assert await holder.stopped() == 0
        shelf = PostgresShelf(one.house.db)
        lease = await shelf.read_lease("main")
        assert lease is not None
        seen = standby.replica.standby
        await until(lambda: seen.lease is not None and seen.lease.released, "a look at the free shard")
        await seen.look()
        assert not standby.leads
        again = await shelf.read_lease("main")
        assert again is not None
        assert (again.epoch, again.released) == (lease.epoch, True)


async def test_a_standby_without_a_database_says_so_and_takes_nothing(dsn: str, tmp_path: Path) -> None:
    """R-071, R-076: 503 within the second; readiness is the honest answer."""
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        _, standby = await two(stack, one)
        await standby.replica._parts.db.__aexit__()
        headers = {
            "Authorization": f"Bearer {one.house.token}",
            "X-TradeAgent-Account": ACCOUNT,
            "Idempotency-Key": "k",
        }
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = {"symbol": "ES", "action": "exit", "occurredAt": now}
        answer = await standby.http.post(f"{BASE}/signals", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
        health = await standby.http.get(f"{BASE}/health")
        await until(lambda: not standby.replica.standby._ready()[0], "the look that fails")
        health = await standby.http.get(f"{BASE}/health")
        assert health.status_code == 503
        async with Database(dsn) as other:
            assert await waiting(other, "main") == []


async def test_a_switch_set_during_a_take_over_folds_nothing_twice(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-082, R-091, I-01: the book is the machine's from the moment it is handed over; a request that began at a
    standby's door looks at it and folds nothing."""
    monkeypatch.setattr("gateway_container.replica.TAKE_OVER_WAIT_S", CALM_S)  # a slow machine ends no wait
    grant, token = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
    add_operator(tmp_path / "operators.json", grant)
    async with fleet(dsn, tmp_path) as one, AsyncExitStack() as stack:
        holder, heir = await two(stack, one)
        slow = one.house.on.sim("b")
        await slow.settings(stream_down=True)  # its session holds the take-over up
        lead(one, heir)
        assert await holder.stopped() == 0
        told = await one.send(action="enter", side="buy", quantity=1)
        await until(lambda: heir.replica.machine is not None, "the machine")
        assert not heir.leads

        switch = {"scope": "account", "scopeId": "b", "state": "halted", "reason": "test"}
        answer = await heir.http.post(
            "/ops/v1/kill-switches", json=switch, headers={"Authorization": f"Bearer {token}"}
        )

        assert answer.status_code == 200, answer.text
        assert not heir.leads
        machine = heir.replica.machine
        assert machine is not None
        assert machine.state.book.switches.epoch("account", "b") == answer.json()["epoch"]
        await slow.settings(stream_down=False)
        await until(lambda: heir.leads, "the take-over")
        book = machine.state.book
        await until(lambda: ("a", one.house.on.contract) in book.positions, "the fill")
        await one.settled()
        await heir.replica.standby.look()  # as a request does that came before the doors led to the machine

        (child,) = [c for c in await one.children(told.signal_id) if c.intent.account_id == "a"]
        live = machine.state.book.orders[child.intent.cl_ord_id]
        assert (live.state, live.cum_qty) == (child.state, child.cum_qty) == ("filled", 1)
        durable = await one.book()
        assert {k: (c.state, c.cum_qty) for k, c in machine.state.book.orders.items()} == {
            k: (c.state, c.cum_qty) for k, c in durable.orders.items()
        }
        assert machine.state.book.positions == durable.positions
        await one.nothing_is_doubled_or_lost()
