"""POST /signals: the contract of the 202, the headers and the idempotency key."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_network

import pytest

from gateway_container.api.doors import Settings
from kopitra.domain.errors import LeaseLost, QueueFull, SignalRefused, Unavailable
from tests.api.client import ENTER, KEY, SECRET, SIGNALS, ea_headers
from tests.api.stand_ins import NOW
from tests.api.world import World

Changes = dict[str, object]


async def test_a_valid_signal_is_answered_after_the_commit(world: World) -> None:
    reply = await world.signal()
    assert reply.status == 202
    assert reply.json == {
        "status": "accepted",
        "signalId": "s-1",
        "sequence": 41,
        "listId": "ls" + reply.json["listId"][2:] if isinstance(reply.json["listId"], str) else None,
        "copies": {"approved": 1, "skipped": 1, "refused": 1},
    }
    signal = world.ledger.signals[0]
    assert (signal.workspace, signal.leader, signal.source) == ("w1", "l1", "ea")
    assert (signal.symbol, signal.contract, signal.quantity) == ("ES", None, Decimal(2))
    assert signal.received_at == NOW


async def test_every_field_arrives(world: World) -> None:
    body = {
        **ENTER,
        "symbol": "ES 12-26",
        "quantity": "3.0",
        "ordType": "stop_limit",
        "price": "6000.50",
        "stopPrice": 6000.25,
        "timeInForce": "gtd",
        "expireAt": "2026-11-20T20:00:00+01:00",
        "stopLoss": {"price": "5990"},
        "takeProfits": [{"offset": 10, "share": "0.5"}, {"price": 6050, "share": 0.5}],
        "leaderOrderId": "o-1",
        "origLeaderOrderId": "o-0",
        "leaderPosition": -3,
        "strategy": "opening range",
        "comment": "größer",
    }
    assert (await world.signal(body)).status == 202
    signal = world.ledger.signals[0]
    assert (signal.symbol, signal.contract) == ("ES", "ESZ6")
    assert str(signal.quantity) == "3"
    assert (signal.price, signal.stop_price) == (Decimal("6000.5"), Decimal("6000.25"))
    assert signal.expire_at is not None
    assert signal.expire_at.isoformat() == "2026-11-20T19:00:00+00:00"
    assert signal.stop_loss is not None
    assert signal.stop_loss.price == 5990
    assert [t.share for t in signal.take_profits] == [Decimal("0.5"), Decimal("0.5")]
    assert (signal.leader_order_id, signal.orig_leader_order_id) == ("o-1", "o-0")
    assert (signal.leader_position, signal.comment) == (-3, "größer")


async def test_older_eas_may_say_master_order_id_and_volume(world: World) -> None:
    body = {"action": "enter", "symbol": "NQ", "side": "sell", "volume": "1", "masterOrderId": "77"}
    assert (await world.signal(body)).status == 202
    assert (world.ledger.signals[0].quantity, world.ledger.signals[0].leader_order_id) == (1, "77")


async def test_the_senders_own_symbol_is_mapped(world: World) -> None:
    assert (await world.signal({**ENTER, "symbol": "US500"})).status == 202
    assert world.ledger.signals[0].symbol == "ES"


async def test_a_signal_without_id_gets_one_from_its_key(world: World) -> None:
    body = {name: value for name, value in ENTER.items() if name != "signalId"}
    first, second = await world.signal(body, key="a"), await world.signal(body, key="b")
    assert first.json["signalId"] != second.json["signalId"]
    world.ledger.forget()
    assert (await world.signal(body, key="a")).json["signalId"] == first.json["signalId"]


async def test_the_request_id_is_echoed_and_made_where_absent(world: World) -> None:
    assert (await world.signal(x_tradeagent_request_id="abc-1")).headers["x-tradeagent-request-id"] == "abc-1"
    assert (await world.signal(key="k-2")).headers["x-tradeagent-request-id"].startswith("rq")


async def test_what_was_served_is_observed_without_secrets(world: World) -> None:
    await world.signal()
    await world.signal(b"{", key="k-9")
    served = world.served
    assert [(s.route, s.status, s.code) for s in served] == [
        (SIGNALS, 202, ""),
        (SIGNALS, 400, "invalid-json"),
    ]
    assert (served[0].workspace, served[0].principal, served[0].signal_id) == ("w1", "ea1", "s-1")
    assert SECRET not in repr(served)


# headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drop, more, status, code",
    [
        ("authorization", {}, 401, "missing-credentials"),
        ("", {"authorization": "Basic abc"}, 401, "invalid-credentials"),
        ("", {"authorization": "Bearer"}, 401, "invalid-credentials"),
        ("", {"authorization": "Bearer kpt_ea1_" + "0" * 32}, 401, "invalid-credentials"),
        ("", {"authorization": f"Bearer kpt_nobody_{SECRET}"}, 401, "invalid-credentials"),
        ("", {"authorization": f"Bearer kop_a_{SECRET}"}, 401, "invalid-credentials"),
        ("", {"authorization": "Bearer kpt_ea1"}, 401, "invalid-credentials"),
        ("", {"authorization": "Bearer kpt_ea1_" + "x" * 300}, 401, "invalid-credentials"),
        ("x-tradeagent-account", {}, 400, "missing-account-header"),
        ("", {"x-tradeagent-account": ""}, 400, "missing-account-header"),
        ("", {"x-tradeagent-account": "acc2"}, 403, "account-not-allowed"),
        ("idempotency-key", {}, 400, "missing-idempotency-key"),
        ("", {"idempotency-key": ""}, 400, "missing-idempotency-key"),
        ("", {"idempotency-key": "x" * 129}, 400, "invalid-idempotency-key"),
        ("", {"idempotency-key": "caf\xe9"}, 400, "invalid-idempotency-key"),
        ("", {"idempotency-key": "a\tb"}, 400, "invalid-idempotency-key"),
        ("", {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        ("", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        ("", {"content-type": "application/json; charset=utf-16"}, 415, "unsupported-media-type"),
        ("", {"content-encoding": "gzip"}, 415, "unsupported-media-type"),
        ("", {"content-length": "65537"}, 413, "body-too-large"),
        ("", {"content-length": "-1"}, 400, "invalid-content-length"),
        ("", {"content-length": "10", "transfer-encoding": "chunked"}, 400, "invalid-content-length"),
        ("", {"x-tradeagent-request-id": "a b\x01"}, 400, "invalid-request-id"),
    ],
)
async def test_wrong_headers(world: World, drop: str, more: dict[str, str], status: int, code: str) -> None:
    reply = await world.signal(drop=drop, **{name.replace("-", "_"): value for name, value in more.items()})
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["requestId"] == reply.headers["x-tradeagent-request-id"]
    assert ("www-authenticate" in reply.headers) == (status == 401)
    assert world.ledger.untouched


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Idempotency-Key", "X-TradeAgent-Account", "X-TradeAgent-Signature", "Content-Length"],
)
async def test_doubled_headers_are_refused(world: World, name: str) -> None:
    headers = [*ea_headers(), (name, "1"), (name, "1")]
    reply = await world.call("POST", SIGNALS, headers, json.dumps(ENTER).encode())
    assert (reply.status, reply.code) == (400, "duplicate-header")
    assert world.ledger.untouched


@pytest.mark.parametrize("name", ["idempotency_key", "x_tradeagent_account", "X-TradeAgent_Account"])
async def test_look_alike_headers_are_refused(world: World, name: str) -> None:
    reply = await world.call("POST", SIGNALS, [*ea_headers(), (name, "acc2")], json.dumps(ENTER).encode())
    assert (reply.status, reply.code) == (400, "look-alike-header")
    assert world.ledger.untouched


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"revoked_at": NOW}, "revoked-credentials"),
        ({"expires_at": NOW}, "expired-credentials"),
        ({"expires_at": NOW - timedelta(days=1)}, "expired-credentials"),
    ],
)
async def test_dead_keys(world: World, changes: Changes, code: str) -> None:
    world.change_key(**changes)
    reply = await world.signal()
    assert (reply.status, reply.code) == (401, code)
    assert world.ledger.untouched


@pytest.mark.parametrize(
    "body, wanted",
    [([b"x" * 40_000, b"x" * 40_000], 413), ([b" " * 65_536, b" "], 413), (b" " * 65_537, 413)],
)
async def test_long_bodies_are_cut_while_they_stream(world: World, body: list[bytes], wanted: int) -> None:
    reply = await world.call("POST", SIGNALS, ea_headers(), body)
    assert (reply.status, reply.code) == (wanted, "body-too-large")
    assert world.ledger.untouched


async def test_a_body_in_pieces_is_one_body(world: World) -> None:
    raw = json.dumps(ENTER).encode()
    reply = await world.call("POST", SIGNALS, ea_headers(), [raw[:10], raw[10:40], raw[40:], b""])
    assert reply.status == 202


async def test_a_connection_that_ends_early_changes_nothing(world: World) -> None:
    reply = await world.call("POST", SIGNALS, ea_headers(), [])
    assert (reply.status, reply.code) == (400, "body-incomplete")
    assert world.ledger.untouched


@pytest.mark.parametrize(
    "forwarded, trust, status",
    [
        (None, False, 403),
        ("10.1.2.3", False, 403),
        ("10.1.2.3", True, 202),
        ("10.1.2.3, 8.8.8.8", True, 403),
        ("8.8.8.8, 10.1.2.3", True, 202),
        ("8.8.8.8,10.1.2.3:5555", True, 202),
        ("::ffff:10.1.2.3", True, 202),
        ("[2001:db8::7]", True, 202),
        ("2001:db8:1::7", True, 403),
        ("nonsense", True, 403),
        ("", True, 403),
    ],
)
async def test_the_allow_list_trusts_only_the_rightmost_forwarded_address(
    world: World, forwarded: str | None, trust: bool, status: int
) -> None:
    world.set(Settings(trust_proxy=trust))
    world.change_key(allow_list=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/48")))
    more = {} if forwarded is None else {"x_forwarded_for": forwarded}
    reply = await world.signal(**more)
    assert reply.status == status
    assert world.ledger.untouched == (status == 403)


# idempotency ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble, status, code",
    [
        (Unavailable("down"), 503, "store-unavailable"),
        (LeaseLost("gone"), 503, "lease-lost"),
        (QueueFull("The queue is full; try again."), 503, "queue-full"),
        (SignalRefused("No.", code="future-signal", pointer="/occurredAt"), 422, "future-signal"),
        (ZeroDivisionError("secret words"), 500, "internal-error"),
    ],
)
async def test_the_engines_refusals(world: World, trouble: Exception, status: int, code: str) -> None:
    world.ledger.trouble = trouble
    reply = await world.signal()
    assert (reply.status, reply.code) == (status, code)
    assert ("retry-after" in reply.headers) == (status == 503)
    assert b"secret words" not in reply.body
    assert world.ledger.untouched


async def test_a_burst_keeps_entries_out_and_lets_exits_in(world: World) -> None:
    """L-4: an entry that finds no room is refused while nothing has happened; exits do not even wait."""
    world.ledger.full = True
    entry = await world.signal()
    assert (entry.status, entry.code, entry.headers["retry-after"]) == (503, "queue-full", "1")
    assert world.ledger.untouched
    leave = {"action": "exit", "symbol": "ES"}
    assert (await world.signal(leave, key="k-2")).status == 202
    world.ledger.full = False
    assert (await world.signal()).status == 202


async def test_a_commit_that_nobody_knows_of_is_not_called_refused(world: World) -> None:
    world.ledger.failure = Unavailable("no answer", code="commit-unknown")
    reply = await world.signal()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "commit-unknown", "1")
    assert b"not accepted" not in reply.body
    assert b"same Idempotency-Key" in reply.body


async def test_a_commit_that_fails_is_not_accepted_and_can_be_tried_again(world: World) -> None:
    """R-026: only what is durable is remembered."""
    world.ledger.failure = Unavailable("down")
    assert (await world.signal()).status == 503
    world.ledger.failure = None
    assert (await world.signal()).status == 202


# rates ---------------------------------------------------------------------------------------------------


async def test_a_flood_is_slowed_and_exits_keep_a_reserve(world: World) -> None:
    world.change_key(rate_per_minute=10)
    entries = [await world.signal({**ENTER, "signalId": f"s-{n}"}, key=f"k-{n}") for n in range(20)]
    assert [r.status for r in entries] == [202] * 8 + [429] * 12
    assert entries[-1].code == "too-many-requests"
    assert int(entries[-1].headers["retry-after"]) >= 1
    leave = {"action": "exit", "symbol": "ES"}
    outs = [await world.signal(leave, key=f"out-{n}") for n in range(3)]
    assert [r.status for r in outs] == [202, 202, 429]
    world.clock.forward(60)
    assert (await world.signal({**ENTER, "signalId": "late"}, key="late")).status == 202


async def test_bodies_read_only_to_look_for_exits_are_bounded(world: World) -> None:
    world.change_key(rate_per_minute=10)
    statuses = [(await world.signal(b"{", key=f"k-{n}")).status for n in range(120)]
    assert statuses == [400] * 108 + [429] * 12


async def test_guessing_keys_is_slowed_by_address_and_leaves_others_alone(world: World) -> None:
    """P9, R-050: whoever has the right key is let in from the same address, too."""
    world.set(replace(world.settings, failures_per_minute=5))
    body = json.dumps(ENTER).encode()
    wrong = ea_headers(more={"authorization": "Bearer kpt_ea1_wrong"})
    replies = [await world.call("POST", SIGNALS, wrong, body, client="9.9.9.9") for _ in range(7)]
    assert [r.status for r in replies] == [401] * 5 + [429] * 2
    assert replies[-1].code == "too-many-failures"
    assert int(replies[-1].headers["retry-after"]) >= 1
    assert (await world.call("POST", SIGNALS, wrong, body, client="8.8.8.8")).status == 401
    assert (await world.call("POST", SIGNALS, ea_headers(), body, client="9.9.9.9")).status == 202


@pytest.mark.parametrize("stranger", ["hook", "ea", "operator"])
async def test_a_strangers_wrong_keys_shut_nobody_out(world: World, stranger: str) -> None:
    """P9, R-050: senders share addresses (webhook services, offices, ingresses): exits and operators still get in."""
    world.set(replace(world.settings, failures_per_minute=3))
    at, wrong = {
        "hook": ("/trade-agent/v1/webhooks/somebody_wrong", []),
        "ea": (SIGNALS, ea_headers(more={"authorization": "Bearer kpt_ea1_wrong"})),
        "operator": ("/ops/v1/flatten", [("authorization", "Bearer kop_o_wrong")]),
    }[stranger]
    slowed = [(await world.call("POST", at, wrong, b"{}")).status for _ in range(5)]
    assert slowed[-1] == 429

    assert (await world.hook("exit NQ")).status == 202
    assert (await world.signal({"action": "exit", "symbol": "ES"}, key="out")).status == 202
    operator = [("authorization", f"Bearer kop_o_{SECRET}")]
    assert (await world.call("GET", "/ops/v1/snapshot", operator)).status == 200


async def test_a_key_never_appears_in_an_answer(world: World) -> None:
    for reply in (await world.signal(), await world.signal(authorization="Bearer kpt_ea1_hush-hush")):
        assert KEY.encode() not in reply.body
        assert b"hush-hush" not in reply.body
