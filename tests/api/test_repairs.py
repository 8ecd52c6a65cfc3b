"""Drift repair at the door: a preview first, then the very same plan by its id."""

import json

import pytest

from tests.api.client import operator
from tests.api.world import World

REPAIRS, LIFT = "/ops/v1/repairs", "/ops/v1/entry-blocks/lift"
Body = dict[str, object]


async def post(world: World, path: str, body: Body, key: str = "o") -> tuple[int, Body]:
    reply = await world.call("POST", path, operator(key), json.dumps(body).encode())
    return reply.status, reply.json


async def test_a_preview_shows_exact_orders_and_sends_nothing(world: World) -> None:
    status, shown = await post(world, REPAIRS, {"accounts": ["f1"], "policy": "top_up"})
    assert (status, shown["planId"], shown["applied"]) == (200, "rp1", False)
    [(workspace, body, accounts)] = world.repaired.asked
    assert (workspace, body.policy, accounts) == ("w1", "top_up", frozenset({"f1"}))
    steps = shown["steps"]
    assert isinstance(steps, list)
    assert steps[0]["order"] == {
        "clOrdId": "kp-1-g0", "side": "sell", "qty": "2", "priceLow": None, "priceHigh": None,
        "priceAgeMs": None,
    }  # fmt: skip
    assert world.repaired.approved == []


async def test_a_plan_is_approved_by_its_id_and_again_with_the_same_answer(world: World) -> None:
    first = await post(world, REPAIRS, {"planId": "rp1"})
    assert (first[0], first[1]["applied"]) == (200, True)
    assert await post(world, REPAIRS, {"planId": "rp1"}) == first
    assert world.repaired.approved[0] == ("rp1", "operator@w1")


async def test_a_plan_is_refused_when_the_world_has_changed_since(world: World) -> None:
    world.repaired.changed = True
    status, problem = await post(world, REPAIRS, {"planId": "rp1"})
    assert (status, problem["code"]) == (409, "repair-plan-changed")
    assert "preview again" in str(problem["detail"])


async def test_a_plan_that_nobody_previewed_is_not_found(world: World) -> None:
    status, problem = await post(world, REPAIRS, {"planId": "rp9"})
    assert (status, problem["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "body, code",
    [
        ({"planId": "rp1", "accounts": ["f1"]}, "plan-and-preview"),
        ({"planId": "rp1", "includeClosedByHand": True}, "plan-and-preview"),
        ({"policy": "hope"}, "unknown-value"),
        ({"accounts": []}, "invalid-length"),
        ({"workspace": "w2"}, "unknown-field"),
    ],
)
async def test_bad_bodies_change_nothing(world: World, body: Body, code: str) -> None:
    status, problem = await post(world, REPAIRS, body)
    assert (status, problem["code"]) == (422, code)
    assert world.repaired.asked == []


async def test_only_ones_own_accounts_are_repaired_and_lifted(world: World) -> None:
    world.change_operator("o", accounts=frozenset({"f1"}))
    await post(world, REPAIRS, {})
    assert world.repaired.asked[0][2] == frozenset({"f1"})
    lift: Body = {"accountId": "f2", "reason": "looked"}
    theirs: Body = {"accounts": ["f2"]}
    for path, body in ((REPAIRS, theirs), (LIFT, lift)):
        status, problem = await post(world, path, body)
        assert (status, problem["code"]) == (403, "account-not-allowed")
    assert (await post(world, REPAIRS, {"accounts": ["z9"]}))[0] == 404


async def test_a_block_is_lifted_with_who_and_why(world: World) -> None:
    status, shown = await post(world, LIFT, {"accountId": "f1", "symbol": "ESZ6", "reason": "mine"})
    assert (status, shown) == (200, {"accountId": "f1", "symbol": "ESZ6"})
    assert world.repaired.lifted == [("f1", "ESZ6", "operator@w1: mine")]
    assert (await post(world, LIFT, {"accountId": "f1"}))[0] == 422
