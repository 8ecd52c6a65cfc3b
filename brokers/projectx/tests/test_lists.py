"""What lists prove: rows of unknown words, times without a zone, pages that are shorter than asked for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from brokers._kit.matching import AccountState
from brokers.projectx.simulator import queries
from brokers.projectx.simulator.render import Json
from brokers.projectx.tests.conftest import Quick
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import NotSent, ProtocolAlert, SessionChanged
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2
from tests.contract.rig import SimBroker

Change = Callable[[Json], Json]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Have the lists tell orders in other words; the hub tells them as ever."""
    real = queries.render.order

    def install(change: Change) -> None:
        def order(*arguments: object, hub: bool) -> Json:
            row: Json = real(*arguments, hub=hub)  # pyright: ignore[reportArgumentType]
            return row if hub else change(row)

        monkeypatch.setattr(queries.render, "order", order)

    return install


def odd(desk: Desk) -> list[ProtocolAlert]:
    return [a for a in desk.ear.of(ProtocolAlert) if "does not read" in a.text]


@pytest.mark.parametrize(
    "odd_word", [{"status": 0}, {"status": None}, {"side": 7}, {"id": "x"}, {"size": 1.5}]
)
async def test_an_order_of_unknown_words_stops_its_account_and_no_login_r_001_r_044(
    firm: SimBroker, quick: Quick, listed: Callable[[Change], None], odd_word: dict[str, object]
) -> None:
    await firm.by_hand(A1, "buy", 1)
    listed(lambda row: {**row, **odd_word})
    desk = quick()
    desk.run()
    await desk.live()

    assert [(a.account_id, a.unmodelled) for a in odd(desk)] == [(A1, True)]
    found = [s for s in desk.ear.of(AccountSnapshot) if s.account_id == A1][-1]
    assert found.orders is None
    assert [p.net_qty for p in found.positions or ()] == [1]
    assert (await desk.session.snapshot(A2, None)).orders == ()
    await desk.session.snapshot(A1, None)
    assert len(odd(desk)) == 1  # told once


async def test_a_reconnect_among_unknown_words_tells_what_the_gap_hid_r_001(
    firm: SimBroker, desk: Desk, listed: Callable[[Change], None]
) -> None:
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(intent)
    listed(lambda row: {**row, "status": 9} if row["customTag"] == intent.cl_ord_id else row)
    await firm.settings(stream_down=True)
    await desk.ear.until(lambda: desk.ear.of(SessionChanged)[-1].reason.startswith("degraded"), "degraded")
    await firm.by_hand(A1, "sell", 1)
    await firm.settings(stream_down=False)

    await desk.ear.until(
        lambda: [r for r in desk.every_report() if r.exec_type == "trade" and r.side == "sell"], "the fill"
    )
    await desk.ear.until(lambda: desk.ear.of(SessionChanged)[-1].reason == "", "the hub is back")

    assert desk.session.state == "live"
    assert {a.account_id for a in odd(desk)} == {A1}


async def test_times_without_a_zone_are_utc_in_lists_too_r_001(
    firm: SimBroker, desk: Desk, listed: Callable[[Change], None]
) -> None:
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(intent)
    listed(lambda row: {**row, "updateTimestamp": str(row["updateTimestamp"]).removesuffix("+00:00")})
    before = len(desk.ear.of(AccountSnapshot))

    await firm.control("drop-streams")
    await desk.ear.until(lambda: len(desk.ear.of(AccountSnapshot)) > before, "the account read again")

    assert desk.session.state == "live"
    assert desk.ear.of(ProtocolAlert) == []


async def test_a_page_shorter_than_asked_for_is_not_the_whole_list_r_044(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE_MAX", 2)
    for price in ("6700", "6701", "6702"):
        await desk.working(await desk.send(desk.intent("buy", 1, "limit", price=price)))
    later = datetime.now(UTC) + timedelta(hours=1)  # the list by time of creation has none of them

    found = await desk.session.snapshot(A1, later)

    assert sorted(str(order.price) for order in found.orders or ()) == ["6700", "6701", "6702"]


def first_login_tells(monkeypatch: pytest.MonkeyPatch, words: dict[str, object]) -> None:
    """Have the first list of accounts tell the first of them in these words; all later lists are fine."""
    real, left = queries.render.account, [words]

    def account(state: AccountState) -> Json:
        return real(state) | (left.pop() if left else {})

    monkeypatch.setattr(queries.render, "account", account)


async def trades(desk: Desk, account: str) -> None:
    """The account takes an order and an exit."""
    for intent in (desk.intent("buy", 1, account=account), desk.closing("sell", 1, account=account)):
        await desk.send(intent)
        await desk.said(intent, lambda r: r.exec_type == "trade", "the fill")
    assert not [p for p in (await desk.session.snapshot(account, None)).positions or () if p.net_qty]


async def test_an_account_that_is_not_told_to_be_closed_has_its_session_r_001(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_login_tells(monkeypatch, {"canTrade": None, "isVisible": None})
    desk = quick()
    desk.run()
    await desk.live()

    assert desk.ear.of(ProtocolAlert) == []
    for account in (A1, A2):
        await trades(desk, account)


@pytest.mark.parametrize("odd_word", [{"canTrade": "yes"}, {"balance": {}}])
async def test_an_odd_word_about_an_account_is_told_and_costs_it_no_session_r_001(
    quick: Quick, monkeypatch: pytest.MonkeyPatch, odd_word: dict[str, object]
) -> None:
    first_login_tells(monkeypatch, odd_word)
    desk = quick()
    desk.run()
    await desk.live()

    assert [(a.account_id, a.unmodelled) for a in odd(desk)] == [(None, False)]
    assert not [a for a in desk.ear.of(ProtocolAlert) if "sees no account" in a.text]
    for account in (A1, A2):
        await trades(desk, account)


async def test_an_account_without_a_number_is_not_told_to_be_misnamed_and_stops_no_other_r_001(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_login_tells(monkeypatch, {"id": None})
    desk = quick()
    desk.run()
    await desk.live()

    assert [a.account_id for a in odd(desk)] == [None]
    (lost,) = [a for a in desk.ear.of(ProtocolAlert) if "sees no account" in a.text]
    assert (lost.account_id, "its name" in lost.text) == (A1, False)
    refused = desk.session.encode(desk.intent("buy", 1, account=A1))
    assert isinstance(refused, NotSent)
    assert refused.text == lost.text
    await trades(desk, A2)
