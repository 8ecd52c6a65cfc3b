"""Loads (RELIABILITY 4.5): how runs become verdicts, and what the crowd of EAs does. No figure is asserted here."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from math import inf

import msgspec
import pytest

from bench.goals import GOALS
from bench.lab import Figure
from bench.load.budgets import fates
from bench.load.crowd import LOST, Crowd, Order, told
from bench.load.rates import RATES, Run, largest, limit_of, percentile_ms
from bench.load.section import PARTS
from bench.load.sizes import SIZES
from bench.report import Result, judge
from bench.sections import SECTIONS
from bench.tap import Reading
from kopitra.wire.views import CopyCounts, LegView, OrderView, SignalView
from tests.unit.bench.tap_world import (
    ACCEPTED,
    SWITCHED,
    Streams,
    read_frame,
    read_http,
    server,
    server_frame,
)

QUIET = Reading(
    n=20, signals=100, orders=2000, missing=0, late=0, extra=0, stalled_orders=0, unanswered=0, errors=0,
    first_error="", order_bytes=330, span_s=1, signals_per_s=100, ack_p99=20_000, last_p99=80_000,
)  # fmt: skip

OPENED = b'HTTP/1.1 201 Created\r\nContent-Length: 22\r\n\r\n{"sessionToken":"kps"}'


@pytest.mark.parametrize("load", ["L-1", "L-2", "L-3", "L-4", "L-5", "L-6", "L-9"])
def test_each_load_has_its_goals(load: str) -> None:
    """L-1, L-2, L-3, L-4, L-5, L-6, L-9."""
    assert [goal for goal in GOALS if goal.key.startswith(f"{load}.")]


def test_the_full_sizes_are_those_that_the_goals_ask_for() -> None:
    """L-1, L-2, L-4, L-6, L-9."""
    full = SIZES["full"]
    assert (full.eas, full.beat_every_s, full.reconnect_s) == (1000, 5, 10)
    assert (full.rate_s, full.burst, full.settle_s) == (600, 1000, 60)
    assert (full.accounts, full.accounts * full.resting, full.doubts) == (200, 2000, 50)


def test_load_is_a_section_of_the_bench() -> None:
    assert "load" in SECTIONS
    assert len(PARTS) == 6


@pytest.mark.parametrize(
    "fault",
    [
        {"missing": 1}, {"extra": 1}, {"unanswered": 1}, {"errors": 1}, {"signals": 99}, {"ack_p99": 50_001},
        {"last_p99": 150_001},
    ],
)  # fmt: skip
def test_a_rate_holds_only_with_everything_in_it(fault: dict[str, int]) -> None:
    """L-2: nothing lost or doubled, both tails and the loop's lag inside their bounds, every signal sent."""
    assert a_run().holds
    assert not a_run(msgspec.structs.replace(QUIET, **fault)).holds
    assert not a_run(lag_ms=50.1).holds


def a_run(reading: Reading = QUIET, lag_ms: float = 1.0) -> Run:
    return Run(100, 1.0, reading, lag_ms, {"gateway": 0.5})


@pytest.mark.parametrize("true_limit", [0, *RATES])
def test_the_largest_rate_is_found_with_few_runs(true_limit: int) -> None:
    """L-2."""
    tried: list[int] = []

    def holds(rate: int) -> bool:
        tried.append(rate)
        return rate <= true_limit

    assert largest(RATES, holds) == true_limit
    assert len(tried) <= 4


@pytest.mark.parametrize(
    "cores, words",
    [
        ({"gateway": 0.93, "PostgreSQL": 0.2}, "the gateway's one loop"),
        ({"gateway": 0.8, "PostgreSQL": 0.6, "tap": 0.5}, "the machine's 2 cores"),
        ({"gateway": 0.4, "PostgreSQL": 0.2}, "waiting"),
    ],
)
def test_the_limiting_part_is_named(cores: Mapping[str, float], words: str) -> None:
    """L-2."""
    assert words in limit_of(cores, 2)


def test_a_percentile_lies_inside_its_bucket() -> None:
    assert percentile_ms({0.001: 50, 0.05: 100, inf: 100}, 0.99) == pytest.approx(1 + 49 * 49 / 50)
    assert percentile_ms({0.001: 90, 0.05: 90, inf: 100}, 0.99) == 50
    assert percentile_ms({0.05: 0, inf: 0}, 0.99) == 0


def test_the_size_used_stands_beside_a_figure_and_survives_the_file() -> None:
    goal = next(goal for goal in GOALS if goal.key == "L-9.live")
    result = judge(goal, Figure("L-9.live", 12.0, size="4 accounts"))
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
    assert (result.size, result.met) == ("4 accounts", True)


def test_an_unsent_order_without_a_reason_and_a_silent_leg_are_unexplained() -> None:
    """L-3: every child that was not sent has a reason."""
    found = fates(
        [
            a_view(
                "enter", an_order("skipped", "budget"), an_order("skipped"), an_order("filled", role="entry")
            ),
            a_view("exit", an_order("filled", role="exit", sent_us=4_000)),
            a_view("exit", outcome="skipped"),
        ]
    )
    assert (found.orders, found.unsent, found.unexplained, found.exits_ms) == (4, 2, 2, (4.0,))


def an_order(state: str, reason: str = "", role: str = "entry", sent_us: int | None = None) -> OrderView:
    values = {
        "cl_ord_id": "c", "role": role, "state": state, "symbol": "ESZ6", "side": "buy", "ord_type": "market",
        "qty": Decimal(1), "cum_qty": Decimal(0), "leaves_qty": Decimal(1), "reason": reason,
        "hops": {} if sent_us is None else {"sent": sent_us},
    }  # fmt: skip
    return OrderView.model_construct(**values)  # pyright: ignore[reportArgumentType]


def a_view(action: str, *orders: OrderView, outcome: str = "approved") -> SignalView:
    leg = LegView.model_construct(
        account_id="a", rule_id="r", rule_version=1, outcome=outcome, orders=orders, reason=""
    )
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return SignalView.model_construct(
        signal_id="s", sequence=1, list_id="l", leader="x", source="ea", action=action, symbol="ES",
        occurred_at=now, received_at=now, copies=CopyCounts(approved=1, skipped=0, refused=0), legs=(leg,),
    )  # fmt: skip


def test_answers_are_counted_by_status_and_a_lost_connection_is_one_of_them() -> None:
    """L-4."""
    found = told([(202, 0.010), (202, 0.030), (429, 0.005), (503, 0.2), (LOST, 9.0)], 1.0, 0)
    assert found.statuses == {202: 2, 429: 1, 503: 1, LOST: 1}
    assert (found.accepted_p99_ms, found.refused_max_ms) == (30.0, 200.0)


async def test_every_ea_beats_on_its_own_connection_with_its_own_key() -> None:
    """L-1."""
    heads: list[str] = []
    connections: set[int] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_all(
            (reader, writer), heads, connections, lambda count: ACCEPTED if "/link" in heads[-1] else OPENED
        )

    async with server(serve) as port:
        crowd = Crowd()
        come = await crowd.obey(Order("come", port, 3))
        beat = await crowd.obey(Order("beat", over_s=0.07, every_s=0.04))
    assert come.statuses == {202: 3}
    assert beat.statuses == {202: 6}
    assert len(connections) == 3
    assert {key_of(head) for head in heads if "/sessions" in head} == {"ea0", "ea1", "ea2"}


async def test_an_ea_comes_back_until_it_is_let_in() -> None:
    """L-6."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_all(
            (reader, writer),
            heads,
            set(),
            lambda count: busy(503) if count < 2 else ACCEPTED if "/link" in heads[-1] else OPENED,
        )

    heads: list[str] = []
    async with server(serve) as port:
        found = await Crowd().obey(Order("come", port, 1))
    assert (found.statuses, found.tries) == ({202: 1}, 2)


async def test_a_burst_sends_one_new_signal_for_each_ea() -> None:
    """L-4."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_all((reader, writer), heads, set(), lambda count: busy(429) if count == 2 else ACCEPTED)

    async with server(serve) as port:
        crowd = Crowd()
        await crowd.obey(Order("open", port, 4))
        found = await crowd.obey(Order("burst", over_s=0.01, name="storm"))
    assert found.statuses == {202: 3, 429: 1}
    assert len({head.split("Idempotency-Key: ")[1].split("\r\n")[0] for head in heads}) == 4


async def answer_all(
    streams: Streams, heads: list[str], connections: set[int], answer: Callable[[int], bytes]
) -> None:
    """Answer every request of one connection; `answer` is asked with the number of requests so far."""
    reader, writer = streams
    connections.add(writer.get_extra_info("peername")[1])
    linked = False
    while not linked:
        head, _body = await read_http(reader)
        heads.append(head)
        said = answer(len(heads))
        linked = "/link" in head and said == ACCEPTED
        writer.write(SWITCHED + server_frame('{"eventType":"InitAck"}') if linked else said)
    while True:
        assert "StatusHeartbeat" in await read_frame(reader)
        writer.write(server_frame('{"eventType":"Accepted"}'))


def let_in(heads: list[str]) -> bytes:
    """A session for who asks for one, else its link."""
    return ACCEPTED if "/link" in heads[-1] else OPENED


def busy(status: int) -> bytes:
    return f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode()


def key_of(head: str) -> str:
    return head.split("Bearer kpt_")[1].split("_")[0]
