"""POST /executions: recorded once, by key and by (account, execId)."""

import json

import pytest

from kopitra.domain.errors import Unavailable
from tests.api.client import EXECUTIONS, ea_headers
from tests.api.world import World

FILL: dict[str, object] = {
    "orderId": "b-1",
    "execId": "x-1",
    "execType": "trade",
    "ordStatus": "filled",
    "symbol": "ESZ6",
    "side": "buy",
    "lastQty": "1",
    "lastPx": 6000.25,
    "transactTime": "2026-11-20T14:29:59.900Z",
}
Body = dict[str, object]


async def post(world: World, body: Body, key: str | None = "k-1") -> tuple[int, bytes, bool]:
    reply = await world.call("POST", EXECUTIONS, ea_headers(key), json.dumps(body).encode())
    return reply.status, reply.body, "idempotent-replayed" in reply.headers


async def test_a_report_is_recorded_for_the_keys_account(world: World) -> None:
    assert await post(world, FILL) == (200, b'{"status":"recorded"}', False)
    workspace, account, report = world.ledger.reports[0]
    assert (workspace, account, report.account_id) == ("w1", "acc1", "acc1")
    assert (report.exec_id, report.symbol, str(report.last_px)) == ("x-1", "ESZ6", "6000.25")


async def test_the_same_call_again_gets_the_first_answer(world: World) -> None:
    await post(world, FILL)
    assert await post(world, FILL) == (200, b'{"status":"recorded"}', True)
    assert len(world.ledger.reports) == 1


async def test_the_same_execution_under_another_key_is_recorded_once(world: World) -> None:
    await post(world, FILL)
    assert await post(world, FILL, "k-2") == (200, b'{"status":"recorded"}', True)
    assert len(world.ledger.reports) == 1


async def test_the_same_key_for_another_report_is_refused(world: World) -> None:
    await post(world, FILL)
    status, body, _ = await post(world, {**FILL, "execId": "x-2"})
    assert (status, json.loads(body)["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"execId": None}, "incomplete-fill"),
        ({"lastQty": 0}, "not-above-zero"),
        ({"symbol": "XX"}, "unknown-symbol"),
        ({"ordStatus": "vanished"}, "unknown-value"),
        ({"execType": "calculated"}, "unknown-value"),
        ({"accountId": "acc2"}, "unknown-field"),
        ({"transactTime": "now"}, "invalid-time"),
    ],
)
async def test_bad_reports_change_nothing(world: World, changes: Body, code: str) -> None:
    status, body, _ = await post(world, {**FILL, **changes})
    assert (status, json.loads(body)["code"]) == (422, code)
    assert world.ledger.untouched


async def test_a_missing_key_and_a_lost_database(world: World) -> None:
    assert (await post(world, FILL, None))[0] == 400
    world.ledger.trouble = Unavailable("down")
    assert (await post(world, FILL))[0] == 503
    assert world.ledger.untouched


async def test_an_account_that_is_not_registered(world: World) -> None:
    world.ledger.trouble = KeyError("acc1")
    assert (await post(world, FILL))[0] == 404
