"""Every route against every kind of caller, and what all answers have in common."""

import json

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute

from gateway_container.api.doors import Settings
from gateway_container.api.edge import Edge
from gateway_container.api.guards import Guard
from tests.api.client import ENTER, EXECUTIONS, KEY, SECRET, SIGNALS, digest, ea_headers, operator
from tests.api.test_executions import FILL
from tests.api.world import World

Headers = list[tuple[str, str]]
SWITCH = json.dumps({"scope": "account", "scopeId": "f1", "state": "halted", "reason": "x"}).encode()
FLATTEN = json.dumps({"scope": "account", "scopeId": "f1", "reason": "x"}).encode()
REPAIR = json.dumps({"includeClosedByHand": True}).encode()
LIFT = json.dumps({"accountId": "f1", "symbol": "ESZ6", "reason": "x"}).encode()
RESTART = json.dumps({"reason": "x", "confirm": True}).encode()
DOUBT = json.dumps({"verdict": "park", "reason": "x"}).encode()
SESSION = json.dumps({"authMethod": "account_session_key", "authenticationKey": KEY}).encode()

CALLERS = ("nobody", "wrong", "ea", "other ea", "viewer", "operator", "admin", "other admin")
#: (method, path, body) -> statuses, one for each of CALLERS
TABLE: dict[tuple[str, str, bytes], tuple[int, ...]] = {
    ("POST", SIGNALS, json.dumps(ENTER).encode()): (401, 401, 202, 202, 401, 401, 401, 401),
    ("GET", SIGNALS + "/s-known", b""): (401, 401, 200, 404, 401, 401, 401, 401),
    ("POST", EXECUTIONS, json.dumps(FILL).encode()): (401, 401, 200, 200, 401, 401, 401, 401),
    ("GET", "/trade-agent/v1/health", b""): (200,) * 8,
    ("GET", "/trade-agent/v1/health/live", b""): (200,) * 8,
    ("POST", f"/trade-agent/v1/webhooks/h1_{SECRET}", b"long ES"): (202,) * 8,
    ("POST", "/trade-agent/v1/webhooks/h1_guess", b"long ES"): (404,) * 8,
    ("GET", "/ops/v1/snapshot", b""): (401, 401, 401, 401, 200, 200, 200, 200),
    ("GET", "/ops/v1/health", b""): (401, 401, 401, 401, 200, 200, 200, 200),
    ("POST", "/ops/v1/stream-tickets", b"{}"): (401, 401, 401, 401, 201, 201, 201, 201),
    ("GET", "/ops/v1/kill-switches", b""): (401, 401, 401, 401, 200, 200, 200, 200),
    ("POST", "/ops/v1/kill-switches", SWITCH): (401, 401, 401, 401, 403, 200, 200, 404),
    ("POST", "/ops/v1/flatten", FLATTEN): (401, 401, 401, 401, 403, 202, 202, 404),
    ("GET", "/ops/v1/flatten/fl1", b""): (401, 401, 401, 401, 200, 200, 200, 404),
    ("GET", "/ops/v1/doubts", b""): (401, 401, 401, 401, 200, 200, 200, 200),
    ("POST", "/ops/v1/doubts/kp-1-e", DOUBT): (401, 401, 401, 401, 403, 200, 200, 404),
    ("POST", "/ops/v1/repairs", REPAIR): (401, 401, 401, 401, 403, 200, 200, 200),
    ("POST", "/ops/v1/entry-blocks/lift", LIFT): (401, 401, 401, 401, 403, 200, 200, 404),
    ("GET", "/ops/v1/limits", b""): (401, 401, 401, 401, 200, 200, 200, 200),
    ("POST", "/ops/v1/limits/f1/restart", RESTART): (401, 401, 401, 401, 403, 403, 200, 404),
    # the other routes of a session need its token: test_ea_sessions.py
    ("POST", "/trade-agent/v1/sessions", SESSION): (401, 401, 201, 401, 401, 401, 401, 401),
    ("DELETE", "/trade-agent/v1/sessions/current", b""): (401,) * 8,
    ("POST", "/trade-agent/v1/sessions/current/inbox", b"{}"): (401,) * 8,
    ("GET", "/trade-agent/v1/sessions/current/outbox", b""): (401,) * 8,
    ("GET", "/metrics", b""): (200,) * 8,
    ("GET", "/openapi.json", b""): (200,) * 8,
}


def headers_of(caller: str) -> Headers:
    match caller:
        case "nobody":
            return [("content-type", "application/json"), ("idempotency-key", "k")]
        case "wrong":
            return ea_headers(more={"authorization": "Bearer kpt_ea1_wrong"})
        case "ea":
            return ea_headers()
        case "other ea":
            other = {"authorization": f"Bearer kpt_ea2_{SECRET}", "x-tradeagent-account": "acc2"}
            return ea_headers(more=other)
        case _:
            return operator({"viewer": "v", "operator": "o", "admin": "a", "other admin": "x"}[caller])


@pytest.mark.parametrize("asked", TABLE, ids=lambda asked: f"{asked[0]} {asked[1]}".replace(SECRET, "..."))
@pytest.mark.parametrize("caller", CALLERS)
async def test_who_may_do_what(world: World, asked: tuple[str, str, bytes], caller: str) -> None:
    method, path, body = asked
    reply = await world.call(method, path, headers_of(caller), body)
    assert reply.status == TABLE[asked][CALLERS.index(caller)], reply.body
    assert reply.headers["x-tradeagent-request-id"]
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


def application(world: World) -> FastAPI:
    assert isinstance(world.app, Edge)
    assert isinstance(world.app._rest, FastAPI)
    return world.app._rest


def test_every_route_declares_exactly_one_policy(world: World) -> None:
    for route in application(world).routes:
        assert isinstance(route, APIRoute | APIWebSocketRoute), route
        guards = [d.call for d in route.dependant.dependencies if isinstance(d.call, Guard)]
        assert len(guards) == 1, route.path


def test_the_table_knows_every_route(world: World) -> None:
    known = {(method, path) for method, path, _ in TABLE}
    for route in application(world).routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                path = route.path.format(
                    signalId="s-known",
                    hookId=f"h1_{SECRET}",
                    flattenId="fl1",
                    clOrdId="kp-1-e",
                    accountId="f1",
                )
                assert (method, path) in known


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("GET", SIGNALS, "POST"),
        ("DELETE", SIGNALS, "POST"),
        ("PUT", "/trade-agent/v1/health", "GET"),
        ("TRACE", SIGNALS, "POST"),
        ("PATCH", "/ops/v1/kill-switches", "GET, POST"),
    ],
)
async def test_other_methods_are_told_what_is_allowed(
    world: World, method: str, path: str, allow: str
) -> None:
    reply = await world.call(method, path, ea_headers())
    assert (reply.status, reply.code) == (405, "method-not-allowed")
    assert sorted(reply.headers["allow"].split(", ")) == sorted(allow.split(", "))


@pytest.mark.parametrize(
    "path", ["/", "/trade-agent/v1", "/trade-agent/v1/signals/", "/docs", "/redoc", "/x"]
)
async def test_other_paths_are_not_found(world: World, path: str) -> None:
    reply = await world.call("GET", path, ea_headers())
    assert (reply.status, reply.code) == (404, "not-found")
    assert reply.headers["content-type"] == "application/problem+json"


async def test_health_is_503_only_when_signals_cannot_be_accepted(world: World) -> None:
    world.shown.accepting = False
    reply = await world.call("GET", "/trade-agent/v1/health")
    assert (reply.status, reply.json["status"]) == (503, "unhealthy")
    assert "accepting" not in reply.json
    assert (await world.call("GET", "/trade-agent/v1/health/live")).status == 200


async def test_metrics_are_for_this_machine_or_for_the_inside_key(world: World) -> None:
    assert (await world.call("GET", "/metrics", client="10.0.0.9")).status == 403
    world.set(Settings(internal_key_sha256=digest("inside")))
    assert (await world.call("GET", "/metrics")).status == 401
    assert (await world.call("GET", "/metrics", [("authorization", "Bearer guess")])).status == 401
    reply = await world.call("GET", "/metrics", [("authorization", "Bearer inside")], client="10.0.0.9")
    assert (reply.status, reply.body) == (200, b"kopitra_up 1\n")


async def test_documents_can_be_switched_off(world: World) -> None:
    world.set(Settings(show_docs=False))
    assert (await world.call("GET", "/openapi.json")).status == 404


async def test_a_signal_of_another_leader_is_not_found(world: World) -> None:
    world.change_key(leader="l9")
    assert (await world.call("GET", SIGNALS + "/s-known", ea_headers())).status == 404


async def test_what_nobody_foresaw_is_500_without_a_word_of_it(world: World) -> None:
    world.ledger.trouble = ZeroDivisionError("secret words")
    reply = await world.call("POST", EXECUTIONS, ea_headers(), json.dumps(FILL).encode())
    assert (reply.status, reply.code) == (500, "internal-error")
    assert b"secret" not in reply.body
    assert world.served[-1].status == 500


@pytest.mark.parametrize("path", ["/ops/v1/kill-switches", EXECUTIONS])
async def test_the_other_routes_have_the_same_edge(world: World, path: str) -> None:
    headers = operator("a") if path.startswith("/ops") else ea_headers()
    long = await world.call("POST", path, headers, [b"x" * 40_000] * 2)
    assert (long.status, long.code) == (413, "body-too-large")
    twice = await world.call("POST", path, [*headers, ("authorization", "x")], b"{}")
    assert (twice.status, twice.code) == (400, "duplicate-header")
    assert (await world.call("POST", path, headers, b'{"a":1,"a":2}')).code == "duplicate-key"
    text = [(n, "text/plain" if n == "content-type" else v) for n, v in headers]
    assert (await world.call("POST", path, text, b"{}")).status == 415
    assert world.ledger.untouched
