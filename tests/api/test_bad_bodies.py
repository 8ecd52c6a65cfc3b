"""What is wrong with a body has a status, a stable code and a pointer, and changes nothing."""

import json

import pytest

from tests.api.client import ENTER, ea_headers
from tests.api.world import World

Case = tuple[bytes | dict[str, object], int, str, str]


def with_(**changes: object) -> dict[str, object]:
    return {**ENTER, **changes}


def raw_quantity(text: str) -> bytes:
    return json.dumps(with_(quantity="@")).encode().replace(b'"@"', text.encode())


SYNTAX: list[Case] = [
    (b"", 400, "invalid-json", ""),
    (b"{", 400, "invalid-json", ""),
    (b"{'action': 'enter'}", 400, "invalid-json", ""),
    (b'{"action":"enter"} x', 400, "invalid-json", ""),
    (b'{"action":"enter",}', 400, "invalid-json", ""),
    (b'{"a":"\x01"}', 400, "invalid-json", ""),
    (b'{"a":01}', 400, "invalid-json", ""),
    (b'{"a":.5}', 400, "invalid-json", ""),
    (b'{"a":"\xff"}', 400, "invalid-encoding", ""),
    (b'{"a":"\xed\xa0\x80"}', 400, "invalid-encoding", ""),
    (b'\xef\xbb\xbf{"a":1}', 400, "byte-order-mark", ""),
    ("{}".encode("utf-16"), 400, "byte-order-mark", ""),
    (b'{"action":"enter","action":"exit"}', 400, "duplicate-key", ""),
    (b'{"stopLoss":{"price":1,"price":2}}', 400, "duplicate-key", ""),
    (b'{"action":"enter","\\u0061ction":"exit"}', 400, "duplicate-key", ""),
    (raw_quantity("NaN"), 400, "number-not-finite", ""),
    (raw_quantity("Infinity"), 400, "number-not-finite", ""),
    (raw_quantity("-Infinity"), 400, "number-not-finite", ""),
    (b"[" * 17 + b"]" * 17, 400, "too-deep", ""),
    (b'{"a":' * 17 + b"1" + b"}" * 17, 400, "too-deep", ""),
    (b"[" * 60_000, 400, "too-deep", ""),
    (b'{"comment":"\\ud800"}', 400, "lone-surrogate", ""),
    (b'{"comment":"\\udc00\\ud800"}', 400, "lone-surrogate", ""),
    (b'{"\\ud800":1}', 400, "lone-surrogate", ""),
    (b"[]", 422, "not-an-object", ""),
    (b"null", 422, "not-an-object", ""),
    (b'"enter"', 422, "not-an-object", ""),
    (b"1", 422, "not-an-object", ""),
]

FIELDS: list[Case] = [
    (raw_quantity("1e400"), 422, "number-out-of-range", "/quantity"),
    (raw_quantity("1" + "0" * 400), 422, "number-out-of-range", "/quantity"),
    (raw_quantity("1e-400"), 422, "number-out-of-range", "/quantity"),
    (raw_quantity("1" * 5000), 422, "number-out-of-range", "/quantity"),
    (raw_quantity("1e99999999999999999999"), 422, "number-out-of-range", ""),
    (with_(quantity="1e2"), 422, "invalid-number", "/quantity"),
    (with_(quantity="NaN"), 422, "invalid-number", "/quantity"),
    (with_(quantity="1,5"), 422, "invalid-number", "/quantity"),
    (with_(quantity="٣"), 422, "invalid-number", "/quantity"),
    (with_(quantity=""), 422, "invalid-number", "/quantity"),
    (with_(quantity=True), 422, "wrong-type", "/quantity"),
    (with_(quantity=[1]), 422, "wrong-type", "/quantity"),
    (with_(quantity=0), 422, "not-above-zero", "/quantity"),
    (with_(quantity=-1), 422, "not-above-zero", "/quantity"),
    (with_(quantity="0.5"), 422, "quantity-off-step", "/quantity"),
    (with_(quantity=1.5), 422, "quantity-off-step", "/quantity"),
    (with_(symbol="AAPL"), 422, "unknown-symbol", "/symbol"),
    (with_(symbol="ESA6"), 422, "unknown-symbol", "/symbol"),
    (with_(symbol="\u0415S"), 422, "invalid-characters", "/symbol"),
    (with_(symbol=""), 422, "invalid-length", "/symbol"),
    (with_(symbol="E" * 65), 422, "invalid-length", "/symbol"),
    (with_(symbol=5), 422, "wrong-type", "/symbol"),
    ({"action": "exit"}, 422, "missing-symbol", ""),
    ({"symbol": "ES"}, 422, "missing-field", "/action"),
    (with_(action="hold"), 422, "unknown-value", "/action"),
    (with_(action="ENTER"), 422, "unknown-value", "/action"),
    (with_(side="long"), 422, "unknown-value", "/side"),
    (with_(side=None, action="enter"), 422, "missing-side", "/side"),
    ({"action": "enter", "symbol": "ES", "side": "buy"}, 422, "missing-quantity", "/quantity"),
    (with_(ordType="limit"), 422, "missing-price", "/price"),
    (with_(ordType="stop"), 422, "missing-stopprice", "/stopPrice"),
    (with_(ordType="trailing_stop"), 422, "missing-trailoffset", "/trailOffset"),
    (with_(timeInForce="gtd"), 422, "missing-expireat", "/expireAt"),
    ({"action": "cancel", "symbol": "ES"}, 422, "missing-leaderorderid", "/leaderOrderId"),
    (
        {"action": "replace", "symbol": "ES", "price": 1},
        422,
        "missing-origleaderorderid",
        "/origLeaderOrderId",
    ),
    (with_(occurredAt="2026-11-20 14:30"), 422, "invalid-time", "/occurredAt"),
    (with_(occurredAt="2026-11-20T14:30:00"), 422, "invalid-time", "/occurredAt"),
    (with_(occurredAt="2026-02-30T14:30:00Z"), 422, "invalid-time", "/occurredAt"),
    (with_(occurredAt=1795185000), 422, "invalid-time", "/occurredAt"),
    (with_(occurredAt="0001-01-01T00:00:00+14:00"), 422, "invalid-time", "/occurredAt"),
    (with_(stopLoss={}), 422, "price-or-offset", "/stopLoss"),
    (with_(stopLoss={"price": 1, "offset": 1}), 422, "price-or-offset", "/stopLoss"),
    (with_(stopLoss={"offset": 0}), 422, "not-above-zero", "/stopLoss/offset"),
    (with_(stopLoss={"ticks": 4}), 422, "unknown-field", "/stopLoss/ticks"),
    (with_(stopLoss=5990), 422, "wrong-type", "/stopLoss"),
    (with_(takeProfits={"offset": 1}), 422, "wrong-type", "/takeProfits"),
    (with_(takeProfits=[{"offset": 1}] * 11), 422, "invalid-length", "/takeProfits"),
    (with_(takeProfits=[{"offset": 1, "share": 0}]), 422, "invalid-share", "/takeProfits/0/share"),
    (with_(takeProfits=[{"offset": 1, "share": 1.1}]), 422, "invalid-share", "/takeProfits/0/share"),
    (with_(takeProfits=[{"offset": 1}, {"offset": 2}]), 422, "shares-above-one", ""),
    (with_(signalId="a b"), 422, "invalid-characters", "/signalId"),
    (with_(signalId="x" * 101), 422, "invalid-length", "/signalId"),
    (with_(signalId='x"y'), 422, "invalid-characters", "/signalId"),
    (with_(comment="a\u0000b"), 422, "invalid-characters", "/comment"),
    (with_(comment="x" * 257), 422, "invalid-length", "/comment"),
    (with_(volume=1), 422, "unknown-field", "/volume"),
    (with_(workspace="w2"), 422, "unknown-field", "/workspace"),
    (with_(tenant="w2"), 422, "unknown-field", "/tenant"),
    (with_(leader="l2"), 422, "unknown-field", "/leader"),
    (with_(accountId="acc2"), 422, "unknown-field", "/accountId"),
    (with_(followers=["f1"]), 422, "unknown-field", "/followers"),
    (with_(scale=50), 422, "unknown-field", "/scale"),
    (with_(signal_id="s-2"), 422, "unknown-field", "/signal_id"),
    (with_(**{"a/b~c": 1}), 422, "unknown-field", "/a~1b~0c"),
]


@pytest.mark.parametrize("body, status, code, pointer", SYNTAX + FIELDS)
async def test_bad_bodies(
    world: World, body: bytes | dict[str, object], status: int, code: str, pointer: str
) -> None:
    reply = await world.signal(body)
    assert (reply.status, reply.code) == (status, code)
    assert reply.pointers[0] == pointer
    assert len(reply.body) < 6000
    assert world.ledger.untouched


async def test_every_fault_is_told_at_once_up_to_a_bound(world: World) -> None:
    reply = await world.signal({"action": "x", "symbol": 5, "side": "up", **{f"f{n}": n for n in range(50)}})
    assert reply.pointers[:3] == ["/action", "/symbol", "/side"]
    assert len(reply.pointers) == 20


async def test_the_input_is_never_repeated(world: World) -> None:
    reply = await world.signal(with_(comment="CANARY\x01", quantity="CANARY", action="CANARY"))
    assert reply.status == 422
    assert b"CANARY" not in reply.body


async def test_a_refused_body_leaves_its_key_free(world: World) -> None:
    assert (await world.signal(with_(quantity=0))).status == 422
    assert (await world.signal()).status == 202


async def test_depth_is_counted_outside_of_strings(world: World) -> None:
    reply = await world.signal(with_(comment='[[[[[[[[[[[[{{{{{{{{{"\\'))
    assert reply.status == 202


async def test_whole_characters_by_escape_are_fine(world: World) -> None:
    raw = json.dumps(with_(comment="😀")).encode()
    assert b"\\ud83d\\ude00" in raw
    assert (await world.call("POST", "/trade-agent/v1/signals", ea_headers(), raw)).status == 202
    assert world.ledger.signals[0].comment == "😀"


async def test_a_flatten_of_everything_needs_no_symbol(world: World) -> None:
    assert (await world.signal({"action": "flatten"})).status == 202
    assert world.ledger.signals[0].symbol == ""
