"""A snapshot has no end marker: parts that are late, on their way, or too many orders told of in part."""

import asyncio
import time
from collections.abc import Callable

import pytest
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType]
)

from brokers.tradovate import sync
from brokers.tradovate.link import Link
from brokers.tradovate.rows import Seen
from brokers.tradovate.settings import TradovateSettings
from brokers.tradovate.simulator import Simulator
from brokers.tradovate.simulator.tables import Change
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


def told_in_part(house: House, orders: int, dropped: float = 0.5) -> None:
    """Fills by hand of which the stream loses some events."""
    house.settings(drop_event_ratio=dropped)
    for _ in range(orders):
        house.by_hand("buy", 1)
    house.settings(drop_event_ratio=0)


async def behind_them(house: House) -> None:
    """Until what the stream told before was heard."""
    house.by_hand("sell", 1)
    await house.until(lambda: any(r.side == "sell" and r.exec_id for r in house.reports()), "a later fill")


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


def _nobody(seen: Seen) -> None:
    raise AssertionError(f"nothing is late: {seen}")


async def snapshot_of(vendor: Vendor) -> tuple[int, int]:
    """Accounts and balances of a snapshot."""
    server = await ws_create_server(lambda _: vendor, "127.0.0.1", 0, enable_auto_pong=False)
    parts = sync.Snapshotter(0.02, 30.0, _nobody)
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


async def test_parts_of_the_first_snapshot_are_history_however_late_they_come_r_044(
    simulator: Simulator,
) -> None:
    house = House(simulator, plan_of(simulator, {"snapshot_quiet_s": "0.02"}))
    for _ in range(3):
        house.by_hand("buy", 1)
    house.quirks(sync_pause_s=0.1)

    house.run()
    await house.live()
    await house.until(
        lambda: all(c.snapshot and c.snapshot.done() for c in simulator.sockets.all()), "all parts"
    )
    await house.filled(house.send(house.intent("sell", 1)))

    assert len(fills(house)) == 1
    assert [(p.symbol, p.net_qty) for p in newest(house).positions or ()] == [(SYMBOL, 3)]
    assert (ends(house), house.of(ProtocolAlert)) == ([], [])
    await house.close()


@pytest.mark.parametrize("late", ["commands", "orderVersions", "orders", "fills"])
async def test_what_a_gap_hid_is_told_once_whichever_part_of_the_next_snapshot_is_late(
    live: House, late: str
) -> None:
    live.quirks(sync_late=late)
    live.command("drop-streams")
    live.by_hand("buy", 1)

    await live.until(lambda: live.states().count("live") == 2, "live again")
    await live.until(lambda: fills(live), "the fill")
    await live.until(lambda: all(c.late == 0 for c in live.simulator.sockets.all()), "the part that is late")
    await live.filled(live.send(live.intent("sell", 1)))

    assert len(fills(live)) == 2
    assert len(ends(live)) == 1
    assert live.of(ProtocolAlert) == []


async def test_a_fill_of_an_order_whose_part_is_late_is_news_in_a_first_life_too(
    simulator: Simulator,
) -> None:
    house = House(simulator, plan_of(simulator, {"join_wait_s": "5"}))  # no look-up is faster than the part
    house.by_hand("buy", 1, ord_type="limit", price="6700")
    house.quirks(sync_late="commands")
    house.run()
    await house.live()

    house.price("6699", "6699.25")
    await house.until(lambda: fills(house), "the fill")
    await house.until(
        lambda: all(c.late == 0 for c in house.simulator.sockets.all()), "the part that is late"
    )

    assert len(fills(house)) == 1
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


async def test_many_orders_in_part_are_explained_by_one_reading_of_the_lists(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"requests_per_minute": "80"}))
    house.run()
    await house.live()
    user = simulator.firm.logins.users["leader1"]
    before = user.requests
    told_in_part(house, 300, dropped=0.2)

    await house.until(lambda: len(fills(house)) >= 270, "nearly each fill")  # some were not told of at all

    assert len(fills(house)) == len(set(fills(house)))
    assert user.requests - before <= 3 * 6
    assert (ends(house), house.of(ProtocolAlert)) == ([], [])
    assert house.session.forecast().entries > 20
    await house.close()


async def test_orders_that_the_lists_do_not_show_yet_are_looked_for_again(live: House) -> None:
    live.settings(list_visibility_lag_ms=1_000)
    told_in_part(live, 12)
    await behind_them(live)
    waiting = len(fills(live))

    await live.until(lambda: len(fills(live)) >= 12, "fills that a later reading explains")

    assert waiting < 12
    assert len(fills(live)) == len(set(fills(live)))
    assert live.of(ProtocolAlert) == []


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"errorText":"Access is denied"}', b'[{"id":"x"}]'])
async def test_an_answer_that_names_no_command_proves_nothing(
    live: House, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(link: Link, endpoint: str, text: str = "", query: str = "") -> bytes:
        return body if endpoint == "command/deps" else await asked(link, endpoint, text, query)

    asked = Link.ask
    monkeypatch.setattr(Link, "ask", ask)
    monkeypatch.setattr(live.simulator.sockets, "_texts", without_commands(live))
    live.settings(duplicate_event_ratio=1e-9)  # each event by itself
    live.by_hand("buy", 1)

    await live.until(lambda: any("Told in part" in a.text for a in live.of(ProtocolAlert)), "the loss")

    assert fills(live) == []


def without_commands(house: House) -> Callable[[Change], list[str]]:
    told = house.simulator.sockets._texts  # pyright: ignore[reportPrivateUsage]
    return lambda change: [] if change.row.kind == "command" else told(change)


async def test_look_ups_that_find_no_room_are_put_off_and_nothing_is_told_as_a_strangers(live: House) -> None:
    live.quirks(throttle_next=1)
    live.send(live.intent())
    await live.heard(Penalized)
    user = live.simulator.firm.logins.users["leader1"]
    before, alerts = user.requests, len(live.of(ProtocolAlert))
    told_in_part(live, 20)
    await behind_them(live)
    told = len(fills(live))
    assert told < 20

    with pytest.raises(AssertionError, match="never"):
        await live.until(lambda: len(fills(live)) > told, "a fill that nobody explained", within_s=4.0)

    assert user.requests == before
    assert len(live.of(ProtocolAlert)) == alerts


def _ticket(link: Link, endpoint: str, body: str = "", query: str = "") -> asyncio.Future[bytes]:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    answer.set_result(b'{"p-ticket":"t","p-time":30,"p-captcha":false}')
    return answer


@pytest.mark.parametrize("answer", ["429", "ticket"])
async def test_a_look_up_that_is_refused_silences_the_login_and_is_told_once(
    live: House, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_in_part(live, 4)
    if answer == "ticket":
        monkeypatch.setattr(Link, "ask", _ticket)
    else:
        live.quirks(throttle_next=1_000)

    await live.heard(Penalized)
    await behind_them(live)

    assert len(live.of(Penalized)) == 1
    assert live.session.forecast().paused_s > 20


async def test_a_penalty_that_outlasts_the_snapshot_is_obeyed_and_its_ticket_taken_along(
    simulator: Simulator,
) -> None:
    house = House(simulator, plan_of(simulator, {"snapshot_timeout_s": "1"}))
    house.run()
    await house.live()
    house.settings(penalty_ticket_s=1)
    house.quirks(penalty_next=1)
    house.command("drop-streams")

    await house.until(lambda: house.states().count("live") == 2, "live again")

    assert ends(house)[1:] == ["the snapshot was penalised"]
    assert simulator.firm.open_tickets == 0
    await house.close()
