"""The server of the simulators: routes, faults of the wire, streams, the control API, start and stop."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from brokers._kit.matching import AccountSpec, MatchingCore, apply_control
from brokers._kit.sim_link import text_frame
from brokers._kit.sim_server import BODY_BYTES_MAX, Request, Response, SimServer, SimSocket


def _echo(request: Request) -> Response:
    return Response(request.body, headers=((b"x-name", request.header(b"x-name")),))


async def _later(request: Request) -> Response:
    await asyncio.sleep(0)
    return Response(request.path.encode(), status=201, content_type=b"text/plain")


async def _parrot(ws: SimSocket) -> None:
    await ws.accept()
    async for text in ws:
        if text == "bye":
            ws.close(4001, "as asked")
        elif text == "die":
            ws.cut()
        else:
            ws.send_text(text)


async def _door(ws: SimSocket) -> None:
    await ws.refuse(401 if ws.params().get("token") != "good" else 503)


@pytest.fixture
async def running() -> AsyncIterator[SimServer]:
    server = SimServer(ignore_case=True)
    server.route("POST", "/echo", _echo)
    server.route("GET", "/later", _later)
    server.route("GET", "/dropped", lambda _: Response(b"never seen", fate="dropped"))
    server.route("GET", "/cut", lambda _: Response(b"half of it", fate="cut"))
    server.route("GET", "/slow", lambda _: Response(delay_s=3_600))
    server.prefix("GET", "/", lambda _: Response(b"any"))
    server.prefix("GET", "/deep/", lambda _: Response(b"deep"))
    server.stream("/parrot", _parrot)
    server.stream("/door", _door)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def client(running: SimServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        yield http


async def test_bytes_in_are_bytes_out(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/echo", content=b"\x00 raw", headers={"X-Name": "me"})

    assert (answer.status_code, answer.content, answer.headers["x-name"]) == (200, b"\x00 raw", "me")


async def test_an_async_handler_chooses_status_and_type(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/later")

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (201, "/later", "text/plain")


async def test_paths_match_in_any_case_where_the_broker_does(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/ECHO", content=b"x")).content == b"x"


async def test_the_longest_prefix_wins(client: httpx2.AsyncClient) -> None:
    assert ((await client.get("/deep/down")).text, (await client.get("/shallow")).text) == ("deep", "any")


async def test_what_nobody_serves_is_404(client: httpx2.AsyncClient) -> None:
    assert (await client.put("/echo")).status_code == 404


async def test_two_handlers_for_one_route_are_a_mistake(running: SimServer) -> None:
    with pytest.raises(ValueError, match="POST /ECHO"):
        running.route("POST", "/ECHO", _echo)


async def test_a_body_without_end_is_refused(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/echo", content=bytes(BODY_BYTES_MAX + 1))).status_code == 413


async def test_a_dropped_answer_closes_the_connection_in_silence(running: SimServer) -> None:
    reader, writer = await asyncio.open_connection(running.host, running.port)
    writer.write(b"GET /dropped HTTP/1.1\r\nhost: sim\r\n\r\n")

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_a_cut_answer_ends_in_the_middle_of_its_body(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get("/cut")


async def test_one_connection_serves_many_requests(running: SimServer) -> None:
    reader, writer = await asyncio.open_connection(running.host, running.port)
    ask = b"POST /echo HTTP/1.1\r\nhost: sim\r\ncontent-length: 1\r\n\r\n"
    writer.write((ask + b"1") + (ask + b"2"))

    for body in (b"1", b"2"):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(1) == body
    writer.close()


async def test_stopping_cuts_an_answer_that_is_still_being_delayed(running: SimServer) -> None:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        asked = asyncio.create_task(http.get("/slow", timeout=None))
        while not running.tasks_count:
            await asyncio.sleep(0)
        await running.stop()

        with pytest.raises(httpx2.TransportError):
            await asked


async def test_a_stopped_server_can_start_again_at_its_port(running: SimServer) -> None:
    port = running.port
    await running.stop()
    await running.start("127.0.0.1", port)

    async with httpx2.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/deep/")).text == "deep"


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 200_000])
async def test_a_stream_carries_messages_of_every_size(running: SimServer, size: int) -> None:
    async with connect(f"ws://127.0.0.1:{running.port}/parrot", compression=None) as ws:
        await ws.send("x" * size)
        assert await ws.recv() == "x" * size


def test_a_frame_says_its_length_in_the_shortest_form() -> None:
    assert [text_frame(bytes(size))[1] for size in (125, 126, 65_535, 65_536)] == [125, 126, 126, 127]


async def test_a_stream_closes_with_a_code(running: SimServer) -> None:
    async with connect(f"ws://127.0.0.1:{running.port}/parrot") as ws:
        await ws.send("bye")
        with pytest.raises(ConnectionClosed) as end:
            await ws.recv()

    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (4001, "as asked")


async def test_a_cut_stream_ends_without_a_goodbye(running: SimServer) -> None:
    async with connect(f"ws://127.0.0.1:{running.port}/parrot") as ws:
        await ws.send("die")
        with pytest.raises(ConnectionClosed) as end:
            await ws.recv()

    assert end.value.rcvd is None


@pytest.mark.parametrize("path, status", [("/door", 401), ("/door?token=good", 503), ("/nowhere", 404)])
async def test_an_upgrade_is_refused_with_the_handlers_status(
    running: SimServer, path: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{running.port}{path}")

    assert refused.value.response.status_code == status


async def test_stopping_ends_open_streams(running: SimServer) -> None:
    async with connect(f"ws://127.0.0.1:{running.port}/parrot") as ws:
        await running.stop()
        with pytest.raises(ConnectionClosed):
            await ws.recv()


async def test_the_control_api_carries_commands_and_questions(
    running: SimServer, client: httpx2.AsyncClient
) -> None:
    core = MatchingCore([AccountSpec(7, "A7", "me", balance=Decimal(1))])
    running.control(lambda command: apply_control(core, command, 1).body)

    changed = await client.post("/_sim/set-settings", json={"ack_delay_ms": 20})
    positions = await client.get("/_sim/positions", params={"account_id": "7"})
    ledger = await client.get("/_sim/ledger")

    assert changed.json()["ack_delay_ms"] == 20
    assert (positions.json(), ledger.json()) == ([], [])


@pytest.mark.parametrize(
    "command, body",
    [("no-such", b"{}"), ("set-settings", b'{"nonsense": 1}'), ("set-price", b"[1]"), ("reset", b"{")],
)
async def test_what_is_no_command_is_400_and_says_why(
    running: SimServer, client: httpx2.AsyncClient, command: str, body: bytes
) -> None:
    running.control(lambda command: apply_control(MatchingCore(), command, 1).body)

    answer = await client.post(f"/_sim/{command}", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_a_number_that_is_none_is_400(running: SimServer, client: httpx2.AsyncClient) -> None:
    running.control(lambda command: command)

    assert (await client.get("/_sim/ledger?after_seq=soon")).status_code == 400
