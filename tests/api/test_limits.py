"""/ops/v1/limits: everybody sees where accounts stand; only an admin who confirms and says why begins anew (R-104)."""

import json
from decimal import Decimal

import pytest

from gateway_container.api.limits_door import NoLimits
from kopitra.domain.errors import Unavailable
from kopitra.domain.measuring import NewStart
from tests.api.client import operator
from tests.api.world import World

LIMITS = "/ops/v1/limits"
RESTART = f"{LIMITS}/f1/restart"
Body = dict[str, object]
AGAIN: Body = {"reason": "the firm reset the account", "confirm": True}


async def post(world: World, path: str, body: Body, key: str = "a") -> tuple[int, Body]:
    reply = await world.call("POST", path, operator(key), json.dumps(body).encode())
    return reply.status, reply.json


async def test_a_viewer_sees_the_rule_its_numbers_and_the_age_of_the_equity(world: World) -> None:
    reply = await world.call("GET", LIMITS, operator("v"))
    (seen,) = json.loads(reply.body)
    assert (seen["accountId"], seen["rung"], seen["stop"]) == ("f1", "locked", "limit_max_loss")
    assert (seen["equity"], seen["equityAgeMs"], seen["version"]) == ("48050", 120, 3)
    assert seen["rules"][0] == {
        "rule": "limit_max_loss", "usedPercent": "97.5", "value": "48050", "floor": "48000", "room": "50",
        "text": "maximum loss",
    }  # fmt: skip


async def test_an_admin_begins_anew_and_is_named_with_the_reason(world: World) -> None:
    status, view = await post(world, RESTART, AGAIN | {"balance": "50000", "peak": 51_800})
    assert (status, view["rung"], view["measuringStart"]) == (200, "clear", 1)
    asked = NewStart(0, Decimal(50_000), Decimal(51_800), "admin@w1", "the firm reset the account")
    assert world.limited.asked == [("f1", asked)]


@pytest.mark.parametrize(
    "key, path, body, status, code",
    [
        ("v", RESTART, AGAIN, 403, "role-not-allowed"),
        ("o", RESTART, AGAIN, 403, "role-not-allowed"),
        ("a", RESTART, {"reason": "x"}, 422, "missing-confirmation"),
        ("a", RESTART, {"confirm": True}, 422, "missing-field"),
        ("a", RESTART, AGAIN | {"reason": ""}, 422, "invalid-length"),
        ("a", f"{LIMITS}/f2/restart", AGAIN, 404, "not-found"),
        ("x", RESTART, AGAIN, 404, "not-found"),
    ],
)
async def test_nobody_else_clears_a_stop_out(
    world: World, key: str, path: str, body: Body, status: int, code: str
) -> None:
    got, problem = await post(world, path, body, key)
    assert (got, problem["code"]) == (status, code)
    assert world.limited.asked == []


async def test_a_replica_without_the_accounts_says_so() -> None:
    with pytest.raises(Unavailable, match="Another replica"):
        NoLimits().standing("w1", None)
