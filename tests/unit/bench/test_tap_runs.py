"""Orders as HTTP requests, and what a reading says about a gateway that is not quite right."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.rig import ROOT, BenchError
from bench.tap import Face, Load, Tap
from tests.unit.bench.tap_world import (
    ACCEPTED,
    HTTP_CARD,
    TEMPLATE,
    OnSignal,
    Streams,
    connected,
    gateway,
    http_order,
    http_request,
    read_http,
    run,
    server,
    tap_to,
)

THREE = Load(n=2, count=3, warmup=1, gap_us=0, batch_deadline_ms=200)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "exit.http"
    path.write_text(TEMPLATE.replace("signalId", "exitId"))
    return path


def sending(line: Streams, *orders: bytes, answer: bytes = ACCEPTED) -> OnSignal:
    """A gateway that writes these bytes for every signal."""

    async def on_signal(_body: str) -> bytes:
        line[1].write(b"".join(orders))
        return answer

    return on_signal


@asynccontextmanager
async def broker_line() -> AsyncGenerator[tuple[Tap, Streams]]:
    with tap_to(HTTP_CARD) as tap:
        async with connected(tap.face_ports[0]) as line:
            yield tap, line


async def test_every_order_of_every_signal_is_stamped(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order(), http_order())) as port:
        reading = await run(tap, port, template, THREE)
    assert reading.complaint() is None
    assert (reading.signals, reading.orders) == (4, 8)
    assert reading.order_bytes == len(http_order())
    assert (
        0 < reading.first_p50 <= reading.last_p50 <= reading.last_p90 <= reading.last_p99 <= reading.last_max
    )


async def test_orders_are_answered_in_the_brokers_own_shape(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order(), http_order())) as port:
        await run(tap, port, template, replace(THREE, count=1, warmup=0))
        _head, body = await read_http(line[0])
    assert body.endswith(',"success":true}')


async def test_a_missing_order_is_told(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order())) as port:
        reading = await run(tap, port, template, THREE)
    assert reading.missing == 1
    assert "1 orders missing" in str(reading.complaint())


async def test_a_doubled_order_is_told(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, *[http_order()] * 3)) as port:
        reading = await run(tap, port, template, replace(THREE, count=1, warmup=0))
    assert reading.extra == 1
    assert "1 too many" in str(reading.complaint())


async def test_a_refused_signal_ends_the_run_with_the_gateways_words(template: Path) -> None:
    refusal = b'HTTP/1.1 422 Unprocessable\r\nContent-Length: 18\r\n\r\n{"code":"no-rule"}'
    async with broker_line() as (tap, line), gateway(sending(line, answer=refusal)) as port:
        reading = await run(tap, port, template, THREE)
    assert (reading.signals, reading.errors) == (1, 1)
    assert "422" in reading.first_error
    assert "no-rule" in reading.first_error


async def test_each_signal_has_its_own_id_and_the_time_of_now(template: Path) -> None:
    bodies: list[str] = []

    async def on_signal(body: str) -> bytes:
        bodies.append(body)
        return ACCEPTED

    with tap_to(HTTP_CARD) as tap:
        async with gateway(on_signal) as port:
            await run(tap, port, template, Load(n=0, count=2, warmup=0, gap_us=0))
    assert bodies[0].startswith('{"signalId":"000000000001","occurredAt":"20')
    assert bodies[1].startswith('{"signalId":"000000000002"')
    assert bodies[0].endswith('Z"}')


async def test_templates_take_turns(template: Path, other: Path) -> None:
    bodies: list[str] = []

    async def on_signal(body: str) -> bytes:
        bodies.append(body)
        return ACCEPTED

    with tap_to(HTTP_CARD) as tap:
        async with gateway(on_signal) as port:
            load = Load(n=0, count=3, warmup=0, gap_us=0)
            await asyncio.to_thread(tap.run, port, [template, other], load, 1)
    assert [body[2:8] for body in bodies] == ["signal", "exitId", "signal"]


async def test_an_answer_waits_for_the_broker_delay(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order(), http_order())) as port:
        load = replace(THREE, count=1, warmup=0, delay_ms=30)
        before = asyncio.get_running_loop().time()
        reading = await run(tap, port, template, load)
        await read_http(line[0])
        assert asyncio.get_running_loop().time() - before >= 0.03
    assert reading.complaint() is None


async def test_a_stalled_account_is_not_counted_and_answered_only_after_the_run(template: Path) -> None:
    async with broker_line() as (tap, line), connected(tap.face_ports[0]) as stalled:

        async def on_signal(_body: str) -> bytes:
            stalled[1].write(http_order(9))
            await stalled[1].drain()
            line[1].write(http_order(1))
            return ACCEPTED

        async with gateway(on_signal) as port:
            running = asyncio.ensure_future(run(tap, port, template, replace(THREE, stalled=(9,))))
            answer = asyncio.ensure_future(read_http(stalled[0]))
            for _ in range(3):
                await read_http(line[0])
            assert not answer.done()
            reading = await running
            assert "200 OK" in (await answer)[0]
    assert reading.complaint() is None
    assert (reading.n, reading.orders, reading.stalled_orders) == (1, 4, 4)


async def test_saturation_counts_every_order(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order(), http_order())) as port:
        reading = await run(tap, port, template, Load(n=2, count=40, warmup=4, inflight=4))
    assert reading.complaint() is None
    assert reading.orders == 88
    assert reading.signals_per_s > 0


async def test_an_open_loop_sends_by_the_clock(template: Path) -> None:
    async with broker_line() as (tap, line), gateway(sending(line, http_order(), http_order())) as port:
        reading = await run(tap, port, template, Load(n=2, count=20, warmup=0, inflight=4, rate_per_s=400))
    assert reading.complaint() is None
    assert reading.span_s >= 19 / 400


async def test_other_requests_pass_byte_for_byte() -> None:
    heard: list[bytes] = []
    request = http_request("/api/Account/search", '{"onlyActiveAccounts":true}')

    async def simulate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(len(request)))
        writer.write(b"HTTP/1.1 200 OK\r\nX-Odd:  kept \r\nContent-Length: 2\r\n\r\n[]")
        await reader.read()

    async with server(simulate) as upstream:
        with tap_to(HTTP_CARD, upstream) as tap:
            async with connected(tap.face_ports[0]) as (reader, writer):
                writer.write(http_order() + request)
                answers = [await read_http(reader) for _ in range(2)]
    assert heard == [request]
    assert {"X-Odd:  kept " in head for head, _body in answers} == {True, False}


async def test_a_socket_to_the_hub_is_relayed_as_it_is() -> None:
    async def simulate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data[::-1])

    async with server(simulate) as upstream:
        with tap_to(HTTP_CARD, upstream) as tap:
            async with connected(tap.face_ports[0]) as (reader, writer):
                writer.write(b"GET /hubs/user?access_token=x HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"POST ")
                assert await reader.readexactly(5) == b" TSOP"


@pytest.mark.parametrize("card", sorted(ROOT.glob("brokers/*/order.wire")), ids=lambda card: card.parent.name)
def test_every_brokers_card_is_understood(card: Path) -> None:
    tap = Tap([Face(card)], name="tap-card")
    tap.stop()
    assert len(tap.face_ports) == 1


def test_a_card_with_an_unknown_line_is_refused(tmp_path: Path) -> None:
    card = tmp_path / "order.wire"
    card.write_text("order-paht /orders\n")
    with pytest.raises(BenchError, match="unknown key in a card"):
        Tap([Face(card)], name="tap-card")


async def test_a_target_nobody_listens_on_is_said(template: Path) -> None:
    async with gateway(lambda _body: asyncio.sleep(0, ACCEPTED)) as port:
        pass
    with tap_to(HTTP_CARD) as tap, pytest.raises(BenchError, match="nobody listens"):
        await run(tap, port, template, THREE)
