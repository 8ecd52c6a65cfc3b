"""The hub protocol: frames in, messages out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.projectx.hub import HANDSHAKE, PING, HubReader, Message, connect_url, invocation
from kopitra.domain.errors import ProtocolViolation

EVENT = b'{"type":1,"target":"GatewayUserOrder","arguments":[{"action":1,"data":{"id":1}}]}\x1e'
DONE = b'{"type":3,"invocationId":"1","result":null}\x1e'


def greeted() -> HubReader:
    reader = HubReader()
    assert list(reader.feed(b"{}\x1e")) == []
    assert reader.greeted
    return reader


def test_messages_may_follow_the_handshake_in_its_frame() -> None:
    reader = HubReader()

    messages = list(reader.feed(b"{}\x1e" + DONE + EVENT))

    assert [message.type for message in messages] == [3, 1]
    assert messages[1].target == "GatewayUserOrder"
    assert bytes(messages[1].arguments[0]) == b'{"action":1,"data":{"id":1}}'


def test_pings_are_swallowed() -> None:
    assert list(greeted().feed(PING + PING)) == []


def test_a_refused_handshake_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="not supported"):
        list(HubReader().feed(b'{"error":"The protocol is not supported."}\x1e'))


@pytest.mark.parametrize("record", [b"\x1e", b"{\x1e", b"[]\x1e", b'{"type":"one"}\x1e', b"\xff\x1e"])
def test_a_record_that_does_not_parse_is_a_violation(record: bytes) -> None:
    reader = greeted()
    if record == b"\x1e":
        assert list(reader.feed(record)) == []
        return
    with pytest.raises(ProtocolViolation):
        list(reader.feed(record))


def test_a_close_says_whether_to_come_back() -> None:
    plain, gentle = list(greeted().feed(b'{"type":7,"error":"bye"}\x1e{"type":7,"allowReconnect":true}\x1e'))

    assert (plain.error, plain.allow_reconnect, gentle.allow_reconnect) == ("bye", False, True)


def test_a_record_that_never_ends_is_a_violation() -> None:
    reader = greeted()
    for _ in range(4):
        assert list(reader.feed(b"x" * 1024 * 1024)) == []

    with pytest.raises(ProtocolViolation, match="longer than"):
        list(reader.feed(b"x"))


@given(st.lists(st.integers(1, 60), max_size=20))
def test_frames_cut_anywhere_give_the_same_messages(cuts: list[int]) -> None:
    whole = b"{}\x1e" + EVENT + PING + DONE + EVENT
    reader, found, rest = HubReader(), list[Message](), whole
    for cut in cuts:
        found += reader.feed(rest[:cut])
        rest = rest[cut:]
    found += reader.feed(rest)

    assert [message.type for message in found] == [1, 3, 1]


def test_a_call_has_an_id_and_ends_with_the_separator() -> None:
    call = invocation("7", "SubscribeOrders", 4100001)

    assert call.endswith(b"\x1e")
    assert json.loads(call[:-1]) == {
        "type": 1, "invocationId": "7", "target": "SubscribeOrders", "arguments": [4100001],
    }  # fmt: skip


def test_the_handshake_asks_for_json() -> None:
    assert json.loads(HANDSHAKE[:-1]) == {"protocol": "json", "version": 1}


def test_the_address_carries_the_token_escaped() -> None:
    assert connect_url("https://rtc.firm.com/", "user", "a+b/c=") == (
        "wss://rtc.firm.com/hubs/user?access_token=a%2Bb%2Fc%3D"
    )
    assert connect_url("http://127.0.0.1:1", "market", "t").startswith("ws://127.0.0.1:1/hubs/market?")
