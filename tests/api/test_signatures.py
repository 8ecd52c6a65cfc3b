"""Signed requests: fresh, whole, once."""

import json

import pytest

from gateway_container.api.signatures import sign
from tests.api.client import ENTER, SIGNALS
from tests.api.stand_ins import NOW
from tests.api.world import World

SIGNING = b"signing-secret"
STAMP = str(int(NOW.timestamp()))
BODY = json.dumps(ENTER).encode()


@pytest.fixture
def signed(world: World) -> World:
    world.change_key(require_signature=True, signing_secrets=(SIGNING,))
    return world


async def test_a_right_signature_is_let_in(signed: World) -> None:
    signature = sign(SIGNING, STAMP, "POST", SIGNALS, BODY)
    reply = await signed.signal(BODY, x_tradeagent_timestamp=STAMP, x_tradeagent_signature=signature)
    assert reply.status == 202


async def test_during_rotation_either_secret_signs(signed: World) -> None:
    signed.change_key(signing_secrets=(SIGNING, b"next"))
    both = sign(b"old", STAMP, "POST", SIGNALS, BODY) + "," + sign(b"next", STAMP, "POST", SIGNALS, BODY)
    assert (
        await signed.signal(BODY, x_tradeagent_timestamp=STAMP, x_tradeagent_signature=both)
    ).status == 202


def _at(offset_s: int) -> str:
    return str(int(NOW.timestamp()) + offset_s)


GOOD = sign(SIGNING, STAMP, "POST", SIGNALS, BODY)


@pytest.mark.parametrize(
    "stamp, signature, body, code",
    [
        (None, None, BODY, "missing-signature"),
        (STAMP, None, BODY, "missing-signature"),
        (None, GOOD, BODY, "missing-signature"),
        (STAMP, "", BODY, "invalid-signature"),
        (STAMP, "v1=", BODY, "invalid-signature"),
        (STAMP, "v1=zz", BODY, "invalid-signature"),
        (STAMP, GOOD.removeprefix("v1="), BODY, "invalid-signature"),
        (STAMP, "v2" + GOOD[2:], BODY, "invalid-signature"),
        (STAMP, GOOD[:-2], BODY, "invalid-signature"),
        (STAMP, GOOD, BODY + b" ", "invalid-signature"),
        (STAMP, sign(b"wrong", STAMP, "POST", SIGNALS, BODY), BODY, "invalid-signature"),
        (STAMP, sign(SIGNING, STAMP, "PUT", SIGNALS, BODY), BODY, "invalid-signature"),
        (STAMP, sign(SIGNING, STAMP, "POST", "/x", BODY), BODY, "invalid-signature"),
        (_at(1), GOOD, BODY, "invalid-signature"),
        (_at(-301), sign(SIGNING, _at(-301), "POST", SIGNALS, BODY), BODY, "stale-signature"),
        (_at(301), sign(SIGNING, _at(301), "POST", SIGNALS, BODY), BODY, "stale-signature"),
        ("yesterday", GOOD, BODY, "invalid-signature"),
        ("-1795185000", GOOD, BODY, "invalid-signature"),
    ],
)
async def test_wrong_signatures(
    signed: World, stamp: str | None, signature: str | None, body: bytes, code: str
) -> None:
    more = {} if stamp is None else {"x_tradeagent_timestamp": stamp}
    more |= {} if signature is None else {"x_tradeagent_signature": signature}
    reply = await signed.signal(body, **more)
    assert (reply.status, reply.code) == (401, code)
    assert signed.ledger.untouched


@pytest.mark.parametrize("offset_s", [-300, 300])
async def test_five_minutes_either_way_are_fresh(signed: World, offset_s: int) -> None:
    stamp = _at(offset_s)
    signature = sign(SIGNING, stamp, "POST", SIGNALS, BODY)
    reply = await signed.signal(BODY, x_tradeagent_timestamp=stamp, x_tradeagent_signature=signature)
    assert reply.status == 202


async def test_a_signature_is_taken_once_as_long_as_it_could_be_fresh(signed: World) -> None:
    more = {"x_tradeagent_timestamp": STAMP, "x_tradeagent_signature": GOOD}
    assert (await signed.signal(BODY, **more)).status == 202
    assert (await signed.signal(BODY, **more)).code == "replayed-signature"
    signed.clock.forward(299)
    assert (await signed.signal(BODY, **more)).code == "replayed-signature"
    signed.clock.forward(302)
    assert (await signed.signal(BODY, **more)).code == "stale-signature"


async def test_a_retry_signs_anew_and_gets_the_first_answer(signed: World) -> None:
    first = await signed.signal(BODY, x_tradeagent_timestamp=STAMP, x_tradeagent_signature=GOOD)
    signed.clock.forward(3)
    again = sign(SIGNING, _at(3), "POST", SIGNALS, BODY)
    reply = await signed.signal(BODY, x_tradeagent_timestamp=_at(3), x_tradeagent_signature=again)
    assert reply.body == first.body


async def test_a_signature_that_is_offered_is_checked_even_where_none_is_required(world: World) -> None:
    world.change_key(signing_secrets=(SIGNING,))
    reply = await world.signal(BODY, x_tradeagent_timestamp=STAMP, x_tradeagent_signature="v1=00")
    assert reply.code == "invalid-signature"
