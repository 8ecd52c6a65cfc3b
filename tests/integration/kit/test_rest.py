"""The lookup client against a scripted server: one attempt, bounded, every failure by its name."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import msgspec
import pytest

from brokers._kit.rest import RestClient, RestReply, RestSettings, TokenRefused, decoded
from kopitra.domain.errors import Disconnected, ProtocolViolation, SessionError, Throttled
from tests.integration.kit.conftest import Peer, Script, ScriptedServer


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[RestClient]:
    settings = RestSettings(timeout_s=5, body_bytes_max=2000)
    async with RestClient(f"http://127.0.0.1:{server.port}/v1", settings=settings) as rest:
        yield rest


def answers(*replies: bytes) -> Script:
    async def script(peer: Peer) -> None:
        for reply in replies:
            await peer.request()
            await peer.say(reply)
        await peer.gone()

    return script


def http(status: str, body: bytes = b"{}", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_json_bytes_go_out_and_come_back_on_one_connection(
    server: ScriptedServer, client: RestClient
) -> None:
    server.script = answers(http("200 OK", b'{"token":"t"}'), http("201 Created", b"[]"))
    reply = await client.post("/auth", b'{"name":"a"}', headers={"Authorization": "Bearer t"})
    assert reply == RestReply(200, b'{"token":"t"}')
    assert (await client.post("/auth")).ok() == b"[]"
    assert server.accepted == 1
    head = server.requests[0].lower()
    assert head.startswith(b"post /v1/auth http/1.1\r\n")
    assert b"content-type: application/json\r\n" in head
    assert b"authorization: bearer t\r\n" in head
    assert head.endswith(b'\r\n\r\n{"name":"a"}')


async def test_a_get_carries_its_query(server: ScriptedServer, client: RestClient) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
        await peer.say(http("200 OK", b"[1]"))
        await peer.gone()

    server.script = script
    assert (await client.get("/contract/find", query={"name": "ES Z6&x"})).ok() == b"[1]"
    assert heads[0].startswith(b"GET /v1/contract/find?name=ES+Z6%26x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "status, header, error, wait_s",
    [
        ("401 Unauthorized", b"X: y", TokenRefused, None),
        ("429 Too Many Requests", b"Retry-After: 7", Throttled, 7),
        ("429 Too Many Requests", b"X: y", Throttled, 60),
        ("429 Too Many Requests", b"Retry-After: " + b"9" * 400, Throttled, 60),
        ("503 Service Unavailable", b"X: y", Disconnected, None),
        ("404 Not Found", b"X: y", ProtocolViolation, None),
        ("302 Found", b"Location: http://127.0.0.1:1/steal", ProtocolViolation, None),
    ],
)
async def test_each_status_has_its_error_and_a_redirect_is_not_followed(
    server: ScriptedServer,
    client: RestClient,
    status: str,
    header: bytes,
    error: type[SessionError],
    wait_s: float | None,
) -> None:
    """R-007: a redirect is an answer like any other; the request is written once."""
    server.script = answers(http(status, b"", header))
    reply = await client.post("/auth")
    with pytest.raises(error) as raised:
        reply.ok()
    assert getattr(raised.value, "retry_after_s", None) == wait_s


@pytest.mark.parametrize("told, wait_s", [("7", 7), ("3600", 3600), ("9" * 400, 86_400), ("soon", 60)])
def test_whoever_has_a_budget_obeys_a_429_for_a_day_at_most(told: str, wait_s: float) -> None:
    """R-062."""
    error = RestReply(429, b"", told).as_error()
    assert isinstance(error, Throttled)
    assert error.retry_after_s == wait_s


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="hang-up"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", id="cut"),
        pytest.param(b"NONSENSE\r\n\r\n", id="not-http"),
    ],
)
async def test_a_post_without_a_complete_answer_is_disconnected_and_never_repeated(
    server: ScriptedServer, client: RestClient, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)

    server.script = script
    with pytest.raises(Disconnected, match="POST /auth"):
        await client.post("/auth", b"{}")
    assert len(server.requests) == 1


async def test_no_answer_in_time_is_disconnected_and_never_repeated(server: ScriptedServer) -> None:
    server.script = answers(b"")
    async with RestClient(f"http://127.0.0.1:{server.port}", settings=RestSettings(timeout_s=0.1)) as hasty:
        with pytest.raises(Disconnected, match="ReadTimeout"):
            await hasty.post("/auth", b"{}")
    assert len(server.requests) == 1


async def test_a_host_that_is_not_there_is_disconnected() -> None:
    listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port: int = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    async with RestClient(f"http://127.0.0.1:{port}") as rest:
        with pytest.raises(Disconnected):
            await rest.get("/x")


@pytest.mark.parametrize(
    "body, header",
    [
        pytest.param(b"x" * 2001, b"X: y", id="plain"),
        pytest.param(gzip.compress(b"x" * 1_000_000), b"Content-Encoding: gzip", id="bomb"),
    ],
)
async def test_a_body_above_the_limit_is_refused(
    server: ScriptedServer, client: RestClient, body: bytes, header: bytes
) -> None:
    server.script = answers(http("200 OK", body, header))
    with pytest.raises(ProtocolViolation, match="2000 bytes"):
        await client.post("/list")


async def test_a_body_that_does_not_decode_is_a_violation(server: ScriptedServer, client: RestClient) -> None:
    server.script = answers(http("200 OK", b"not gzip", b"Content-Encoding: gzip"))
    with pytest.raises(ProtocolViolation, match="does not decode"):
        await client.post("/list")


class Account(msgspec.Struct):
    id: int
    name: str


def test_json_becomes_typed_values() -> None:
    assert decoded(b'[{"id":4294967299,"name":"a"}]', list[Account]) == [Account(4294967299, "a")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"id":"s3cret","name":"a"}', b'{"id":1}', b'{"id":1,"name":"\xff"}']
)
def test_json_of_another_shape_is_a_violation_that_does_not_quote_it(body: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="does not parse") as raised:
        decoded(body, Account)
    assert "s3cret" not in str(raised.value)


async def test_a_closed_client_is_disconnected(server: ScriptedServer) -> None:
    """A read that was under way when its session was closed asks on, and must hear what every reader understands."""
    rest = RestClient(f"http://127.0.0.1:{server.port}")
    await rest.aclose()
    with pytest.raises(Disconnected, match="closed"):
        await rest.get("/order/list")
    assert not server.requests
