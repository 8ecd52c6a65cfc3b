"""/ops/v1/doubts: people see orders in doubt, park them, and settle them only when they say so twice (R-010, R-011)."""

import json

import pytest

from kopitra.domain.errors import Unavailable
from kopitra.wire.doubts import DoubtView
from tests.api.client import operator
from tests.api.world import World

DOUBTS = "/ops/v1/doubts"
ONE = f"{DOUBTS}/kp-1-e"
PARK: dict[str, object] = {"verdict": "park", "reason": "I call them"}
GONE: dict[str, object] = {"verdict": "not_placed", "reason": "not on their screen"}


async def decide(
    world: World, path: str, body: dict[str, object], key: str = "o"
) -> tuple[int, dict[str, object]]:
    reply = await world.call("POST", path, operator(key), json.dumps(body).encode())
    return reply.status, reply.json


async def test_an_operator_sees_what_is_in_doubt(world: World) -> None:
    reply = await world.call("GET", DOUBTS, operator("v"))
    (seen,) = json.loads(reply.body)
    assert (seen["clOrdId"], seen["state"], seen["qty"]) == ("kp-1-e", "in_doubt", "2")


async def test_an_operator_parks_one_and_is_named(world: World) -> None:
    status, shown = await decide(world, ONE, PARK)
    assert (status, shown["state"]) == (200, "parked")
    assert world.doubted.told == [("park", "w1", "kp-1-e", "operator@w1", "I call them")]


async def test_settling_wants_to_be_said_twice(world: World) -> None:
    status, problem = await decide(world, ONE, GONE)
    assert (status, problem["code"]) == (422, "missing-confirmation")
    assert world.doubted.told == []
    status, shown = await decide(world, ONE, {**GONE, "confirm": True})
    assert (status, shown["state"]) == (200, "not_placed")
    assert world.doubted.told == [("settle", "w1", "kp-1-e", "operator@w1", "not on their screen")]


@pytest.mark.parametrize("path, key", [(f"{DOUBTS}/kp-9-e", "o"), (ONE, "x")], ids=["unknown", "of another"])
async def test_what_is_not_in_doubt_here_is_not_found(world: World, path: str, key: str) -> None:
    status, problem = await decide(world, path, PARK, key)
    assert (status, problem["code"]) == (404, "not-found")
    assert world.doubted.told == []


@pytest.mark.parametrize("body", [{}, {"verdict": "filled", "reason": "x"}, {"verdict": "park"}])
async def test_a_body_that_does_not_fit_is_refused(world: World, body: dict[str, object]) -> None:
    assert (await decide(world, ONE, body))[0] == 422


async def test_a_replica_without_the_accounts_says_so(world: World) -> None:
    def refuse(workspace: str, accounts: frozenset[str] | None) -> list[DoubtView]:
        raise Unavailable("elsewhere")

    world.doubted.waiting = refuse
    assert (await world.call("GET", DOUBTS, operator("v"))).status == 503
