"""Kill switches and flatten: inside the workspace, by role, and loosened only by an admin who confirms."""

import json

import pytest

from kopitra.domain.switches import KillSwitch
from tests.api.client import operator
from tests.api.world import World

SWITCHES = "/ops/v1/kill-switches"
Body = dict[str, object]
HALT: Body = {"scope": "account", "scopeId": "f1", "state": "halted", "reason": "runaway"}


async def post(world: World, path: str, body: Body, key: str = "o") -> tuple[int, Body]:
    reply = await world.call("POST", path, operator(key), json.dumps(body).encode())
    return reply.status, reply.json


async def test_an_operator_halts_an_account(world: World) -> None:
    status, shown = await post(world, SWITCHES, HALT)
    assert status == 200
    assert shown == {**HALT, "who": "operator@w1", "epoch": 1, "lifting": False}
    assert world.controls.switch_list == [KillSwitch("account", "f1", "halted", "runaway", "operator@w1", 1)]


@pytest.mark.parametrize(
    "key, confirm, status, code",
    [
        ("o", True, 403, "role-not-allowed"),
        ("a", False, 422, "missing-confirmation"),
        ("a", True, 200, None),
    ],
)
async def test_lifting_is_for_an_admin_who_confirms(
    world: World, key: str, confirm: bool, status: int, code: str | None
) -> None:
    await post(world, SWITCHES, HALT)
    got, body = await post(world, SWITCHES, {**HALT, "state": "active", "confirm": confirm}, key)
    assert (got, body.get("code")) == (status, code)
    assert len(world.controls.switch_list) == (2 if status == 200 else 1)


async def test_tightening_needs_no_admin(world: World) -> None:
    assert (await post(world, SWITCHES, {**HALT, "state": "reducing"}))[0] == 200
    assert (await post(world, SWITCHES, HALT))[0] == 200


@pytest.mark.parametrize(
    "scope, scope_id",
    [("account", "z9"), ("workspace", "w2"), ("leader", "l2"), ("global", ""), ("broker", "toy")],
)
async def test_another_workspaces_scope_is_not_found(world: World, scope: str, scope_id: str) -> None:
    for path in (SWITCHES, "/ops/v1/flatten"):
        body: Body = {"scope": scope, "scopeId": scope_id, "reason": "x"}
        status, problem = await post(
            world, path, body | ({"state": "halted"} if path == SWITCHES else {}), "a"
        )
        assert (status, problem["code"]) == (404, "not-found")
    assert world.controls.switch_list == []
    assert world.controls.flattened == []


async def test_an_operator_of_some_accounts_stops_only_those(world: World) -> None:
    world.change_operator("o", accounts=frozenset({"f1"}))
    assert (await post(world, SWITCHES, HALT))[0] == 200
    status, problem = await post(world, SWITCHES, {**HALT, "scopeId": "f2"})
    assert (status, problem["code"]) == (403, "account-not-allowed")
    status, problem = await post(
        world, "/ops/v1/flatten", {"scope": "workspace", "scopeId": "w1", "reason": "x"}
    )
    assert (status, problem["code"]) == (403, "account-not-allowed")


async def test_flatten_answers_the_positions_and_progress_follows(world: World) -> None:
    status, view = await post(
        world, "/ops/v1/flatten", {"scope": "workspace", "scopeId": "w1", "reason": "news"}
    )
    assert (status, view["flattenId"], view["done"]) == (202, "fl1", False)
    order = world.controls.flattened[0]
    assert (order.workspace, order.who, order.halt) == ("w1", "operator@w1", True)
    reply = await world.call("GET", "/ops/v1/flatten/fl1", operator("v"))
    assert (reply.status, reply.json["flattenId"]) == (200, "fl1")
    assert (await world.call("GET", "/ops/v1/flatten/fl1", operator("x"))).status == 404


@pytest.mark.parametrize(
    "body, code",
    [
        ({**HALT, "state": "off"}, "unknown-value"),
        ({**HALT, "scope": "planet"}, "unknown-value"),
        ({**HALT, "reason": ""}, "invalid-length"),
        ({**HALT, "workspace": "w2"}, "unknown-field"),
        ({**HALT, "confirm": "yes"}, "wrong-type"),
        ({name: value for name, value in HALT.items() if name != "reason"}, "missing-field"),
    ],
)
async def test_bad_switch_bodies_change_nothing(world: World, body: Body, code: str) -> None:
    status, problem = await post(world, SWITCHES, body)
    assert (status, problem["code"]) == (422, code)
    assert world.controls.switch_list == []


async def test_the_switches_and_the_snapshot_are_shown(world: World) -> None:
    await post(world, SWITCHES, HALT)
    reply = await world.call("GET", SWITCHES, operator("v"))
    assert json.loads(reply.body)[0]["state"] == "halted"
    assert (await world.call("GET", "/ops/v1/snapshot", operator("v"))).json["sequence"] == 41
    assert (await world.call("GET", "/ops/v1/health", operator("v"))).json["role"] == "holder"
