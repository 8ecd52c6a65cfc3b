"""A snapshot has no end marker: parts that are late, on their way, or too many orders told of in part."""

import asyncio
import time

import pytest
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType]
)

from brokers.tradovate import sync
from brokers.tradovate.join import ASKS_MAX
from brokers.tradovate.link import Link
from brokers.tradovate.settings import TradovateSettings
from brokers.tradovate.simulator import Simulator
from brokers.tradovate.tests.harness import A1, SYMBOL, House, plan_of
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.ports import Penalized, ProtocolAlert, SessionChanged


def ends(house: House) -> list[str]:
    """Why lives ended."""
    return [changed.reason for changed in house.of(SessionChanged) if changed.state == "backoff"]


def fills(house: House) -> list[str | None]:
    return [report.exec_id for report in house.of(ExecutionReport) if report.exec_type == "trade"]


def newest(house: House) -> AccountSnapshot:
    return [s for s in house.of(AccountSnapshot) if s.account_id == A1][-1]


class Vendor(WSListener):
    """Greets, answers the snapshot with one part, and says nothing more until it is pinged."""

    def __init__(self, on_ping: list[bytes], *, answers: bool) -> None:
        self._on_ping = on_ping
        self._answers = answers

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"o")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes().startswith(b"user/syncrequest"):
            transport.send(WSMsgType.TEXT, part("accounts"))
        elif frame.msg_type == WSMsgType.PING:
            if self._on_ping:
                transport.send(WSMsgType.TEXT, self._on_ping.pop(0))
            if self._answers:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def part(name: str) -> bytes:
    account = b'{"id":1,"name":"DEMO1","active":true}'
    cash = b'{"id":2,"accountId":1,"amount":5,"timestamp":"2026-11-20T00:00:00Z"}'
    return b'a[{"s":200,"i":1,"d":{"%s":[%s]}}]' % (name.encode(), account if name == "accounts" else cash)


async def snapshot_of(vendor: Vendor) -> tuple[int, int]:
    """Accounts and balances of a snapshot."""
    server = await ws_create_server(lambda _: vendor, "127.0.0.1", 0, enable_auto_pong=False)
    parts = sync.Snapshotter(0.02, lambda text: None)
    link = Link(TradovateSettings(connect_timeout_s=0.2), time.monotonic_ns, lambda item, _: parts.take(item))
    try:
        await link.open(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", None)
        parts.begin(link, 7)
        async with asyncio.timeout(5):
            seen = await parts.complete()
    finally:
        await link.aclose()
        server.close()
    return len(seen.accounts), len(seen.cash_balances)


async def test_parts_that_were_on_their_way_when_it_fell_silent_belong_to_it_r_044() -> None:
    assert await snapshot_of(Vendor([part("cashBalances")] * 3, answers=True)) == (1, 3)


async def test_a_vendor_that_answers_no_ping_delays_the_snapshot_and_does_not_prevent_it() -> None:
    assert await snapshot_of(Vendor([], answers=False)) == (1, 0)


async def test_pauses_between_parts_bring_a_new_snapshot_that_waits_longer_and_tell_no_history_r_044(
    simulator: Simulator,
) -> None:
    house = House(simulator, plan_of(simulator, {"snapshot_quiet_s": "0.06"}))
    for _ in range(3):
        house.by_hand("buy", 1)
    house.quirks(sync_pause_s=0.2)

    house.run()
    await house.until(lambda: len(ends(house)) == 2, "two parts that were late")
    await house.until(lambda: house.states().count("live") == 3, "the third life")
    await house.filled(house.send(house.intent("sell", 1)))

    texts = [
        f"after {waited} s of silence: a new one is taken, which waits for" for waited in ("0.06", "0.12")
    ]
    assert all(text in why for text, why in zip(texts, ends(house), strict=True))
    assert len(fills(house)) == 1
    assert [(p.symbol, p.net_qty) for p in newest(house).positions or ()] == [(SYMBOL, 3)]
    assert house.of(ProtocolAlert) == []
    await house.close()


async def test_a_snapshot_that_its_socket_did_not_outlive_is_no_beginning(house: House) -> None:
    for _ in range(3):
        house.by_hand("buy", 1)
    house.quirks(sync_cut_after=5)
    house.run()
    await house.until(lambda: ends(house), "the drop")
    house.quirks(sync_cut_after=0)

    await house.live()

    assert house.states().count("live") == 1
    assert fills(house) == []
    assert len(newest(house).executions or ()) == 3


async def test_parts_without_end_are_told_to_a_person_and_end_no_further_life(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "QUIET_MAX_S", 0.05)
    house = House(simulator, plan_of(simulator))
    house.quirks(sync_late="fills")

    house.run()
    alert = await house.heard(ProtocolAlert)

    assert "came after 0.05 s of silence" in alert.text
    assert ends(house) == []
    await house.filled(house.send(house.intent()))
    await house.close()


async def test_ten_thousand_orders_of_the_day_start_quietly_and_come_back_quietly(house: House) -> None:
    for number in range(10_000):
        house.by_hand("sell" if number % 2 else "buy", 1)

    house.run()
    await house.live()
    house.command("drop-streams")
    await house.until(lambda: house.states().count("live") == 2, "live again")
    await house.filled(house.send(house.intent()))

    assert len(ends(house)) == 1
    assert house.of(ProtocolAlert) == []
    assert len(newest(house).orders or ()) == 10_000
    assert len(fills(house)) == 1


async def test_more_orders_in_part_than_can_be_asked_for_bring_a_new_snapshot_that_tells_each_fill_once(
    live: House,
) -> None:
    live.settings(drop_event_ratio=0.5)
    made = 3 * ASKS_MAX
    for _ in range(made):
        live.by_hand("buy", 1)
    live.settings(drop_event_ratio=0)

    await live.until(lambda: len(fills(live)) >= made, "each fill")

    assert len(fills(live)) == len(set(fills(live))) == made
    assert ends(live) == [f"the vendor told of more than {ASKS_MAX} orders in part: a new snapshot is taken"]
    assert live.of(ProtocolAlert) == []


async def test_look_ups_take_from_the_budget_and_what_it_does_not_pay_is_told_once(
    simulator: Simulator,
) -> None:
    house = House(simulator, plan_of(simulator, {"requests_per_minute": "40"}))
    house.run()
    await house.live()
    user = simulator.firm.logins.users["leader1"]
    before = user.requests
    house.settings(drop_event_ratio=0.5)
    for _ in range(60):
        house.by_hand("buy", 1)
    house.settings(drop_event_ratio=0)

    alert = await house.heard(ProtocolAlert)

    assert alert.text.startswith("Told in part")
    assert alert.text.endswith("more. Compare by snapshot.")
    assert 1 <= user.requests - before <= 30
    assert len(house.of(ProtocolAlert)) <= 3  # a look each, and not an order each
    await house.close()


async def test_a_look_up_that_is_throttled_silences_the_login_and_is_told_once(live: House) -> None:
    live.settings(drop_event_ratio=0.5)
    for _ in range(30):
        live.by_hand("buy", 1)
    live.settings(drop_event_ratio=0)
    live.quirks(throttle_next=1_000)

    await live.heard(Penalized)
    await live.until(lambda: any("Told in part" in a.text for a in live.of(ProtocolAlert)), "the loss")

    assert len(live.of(Penalized)) == 1
    assert live.session.forecast().paused_s > 0
