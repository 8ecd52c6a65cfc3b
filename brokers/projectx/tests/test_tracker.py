"""Order and trade messages to reports: what is news, what is told once, what waits for its name."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.projectx.symbols import ContractBook, Listing
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.wire import WireOrder, WireTrade
from kopitra.domain.errors import ProtocolViolation
from kopitra.domain.executions import ExecutionReport

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
ID = "CON.F.US.EP.Z26"


@pytest.fixture
def tracker() -> OrderTracker:
    return make_tracker()


def make_tracker() -> OrderTracker:
    contracts = ContractBook()
    contracts.learn([Listing(ID, "ESZ6", Decimal("0.25"), Decimal("12.5"))])
    return OrderTracker(contracts)


def order(
    status: int, *, at: int = 0, filled: int = 0, kind: int = 1, size: int = 2, **more: object
) -> WireOrder:
    fields: dict[str, object] = {"limit_price": Decimal(6800), "custom_tag": "kp1-e", **more}
    return WireOrder(
        account_id=7,
        contract_id=ID,
        status=status,
        type=kind,
        side=0,
        size=size,
        id=11,
        fill_volume=filled,
        update_timestamp=NOW + timedelta(seconds=at),
        **fields,  # pyright: ignore[reportArgumentType]
    )


def trade(exec_id: int = 21, *, order_id: int = 11, size: int = 1, voided: bool = False) -> WireTrade:
    return WireTrade(exec_id, 7, ID, NOW, Decimal("6800.25"), 0, size, order_id, voided)


def told(tracker: OrderTracker, wire: WireOrder) -> list[ExecutionReport]:
    return list(tracker.order(wire, "acc", NOW, 5))


@pytest.mark.parametrize(
    "status, exec_type, ord_status",
    [
        (1, "new", "new"),
        (2, "order_status", "filled"),
        (3, "canceled", "canceled"),
        (4, "expired", "expired"),
        (5, "rejected", "rejected"),
        (6, "pending_new", "pending_new"),
        (7, "pending_cancel", "pending_cancel"),
        (8, "suspended", "suspended"),
    ],
)
def test_each_status_is_one_report(
    tracker: OrderTracker, status: int, exec_type: str, ord_status: str
) -> None:
    (report,) = told(tracker, order(status))

    assert (report.exec_type, report.ord_status) == (exec_type, ord_status)
    assert (report.order_id, report.cl_ord_id, report.symbol) == ("11", "kp1-e", "ESZ6")
    assert (report.price, report.order_qty, report.received_ns) == (Decimal(6800), Decimal(2), 5)


@pytest.mark.parametrize("wire", [order(0), order(9), order(1, kind=42), order(1)])
def test_a_word_that_is_not_listed_raises(tracker: OrderTracker, wire: WireOrder) -> None:
    if wire.status == 1 and wire.type == 1:
        wire.side = 3
    with pytest.raises(ProtocolViolation):
        told(tracker, wire)


def test_the_same_news_is_told_once(tracker: OrderTracker) -> None:
    assert len(told(tracker, order(1))) == 1
    assert told(tracker, order(1)) == []
    assert told(tracker, order(6)) != []  # a step back at the same time is odd, and told


def test_other_numbers_on_a_working_order_are_a_replace(tracker: OrderTracker) -> None:
    told(tracker, order(1))

    (report,) = told(tracker, order(1, at=1, limit_price=Decimal(6801)))

    assert (report.exec_type, report.price) == ("replaced", Decimal(6801))


def test_a_trailing_stop_that_follows_the_market_is_not_a_replace(tracker: OrderTracker) -> None:
    told(tracker, order(1, kind=5, limit_price=None, stop_price=Decimal(6790)))

    (report,) = told(tracker, order(1, at=1, kind=5, limit_price=None, stop_price=Decimal(6791)))

    assert (report.exec_type, report.stop_price) == ("order_status", Decimal(6791))


def test_a_replace_of_ours_is_confirmed_even_when_nothing_shows(tracker: OrderTracker) -> None:
    told(tracker, order(1, kind=5, limit_price=None))
    tracker.asked(11)

    (report,) = told(tracker, order(1, at=1, kind=5, limit_price=None))

    assert report.exec_type == "replaced"


def test_a_partial_fill_status_is_evidence_and_no_fill(tracker: OrderTracker) -> None:
    told(tracker, order(1))

    (report,) = told(tracker, order(1, at=1, filled=1))

    assert (report.exec_type, report.ord_status) == ("order_status", "partially_filled")
    assert (report.cum_qty, report.leaves_qty, report.last_qty) == (Decimal(1), Decimal(1), None)


def test_old_news_of_an_ended_order_is_dropped(tracker: OrderTracker) -> None:
    told(tracker, order(3, at=5))

    assert told(tracker, order(1, at=6)) == []
    assert told(tracker, order(6, at=1)) == []


def test_an_older_message_does_not_undo_a_newer_one(tracker: OrderTracker) -> None:
    told(tracker, order(1, at=5, limit_price=Decimal(6801)))

    assert told(tracker, order(1, at=4, limit_price=Decimal(6800))) == []


def test_an_execution_is_told_once_with_its_client_id(tracker: OrderTracker) -> None:
    told(tracker, order(1))

    first = tracker.trade(trade(), "acc", 9)

    assert isinstance(first, ExecutionReport)
    assert (first.exec_type, first.exec_id, first.cl_ord_id) == ("trade", "21", "kp1-e")
    assert (first.last_qty, first.last_px, first.received_ns) == (Decimal(1), Decimal("6800.25"), 9)
    assert (first.ord_status, first.cum_qty, first.leaves_qty) == ("partially_filled", Decimal(1), Decimal(1))
    assert tracker.trade(trade(), "acc", 10) is None
    last = tracker.trade(trade(22), "acc", 11)
    assert isinstance(last, ExecutionReport)
    assert (last.ord_status, last.cum_qty) == ("filled", Decimal(2))


def test_a_voided_trade_takes_the_execution_back(tracker: OrderTracker) -> None:
    told(tracker, order(1))
    tracker.trade(trade(), "acc", 1)

    back = tracker.trade(trade(voided=True), "acc", 2)

    assert isinstance(back, ExecutionReport)
    assert (back.exec_type, back.exec_id, back.cum_qty) == ("trade_cancel", "21", Decimal(0))
    assert tracker.trade(trade(voided=True), "acc", 3) is None


def test_a_fill_before_its_order_waits_for_the_name(tracker: OrderTracker) -> None:
    assert tracker.trade(trade(), "acc", 3) == 11
    assert tracker.waits_for(11)

    status, fill = told(tracker, order(6))

    assert (status.exec_type, fill.exec_type, fill.cl_ord_id) == ("pending_new", "trade", "kp1-e")
    assert fill.received_ns == 3
    assert not tracker.waits_for(11)


def test_a_fill_before_the_answer_waits_for_the_name(tracker: OrderTracker) -> None:
    tracker.trade(trade(size=2), "acc", 3)

    (fill,) = tracker.placed(11, "acc", "kp1-e", 2)

    assert (fill.cl_ord_id, fill.ord_status, fill.cum_qty) == ("kp1-e", "filled", Decimal(2))


def test_a_fill_that_stays_nameless_is_told_all_the_same(tracker: OrderTracker) -> None:
    tracker.trade(trade(), "acc", 3)

    (fill,) = tracker.take_orphans(11)

    assert (fill.cl_ord_id, fill.order_id, fill.last_qty) == (None, "11", Decimal(1))


def test_history_is_known_and_not_told(tracker: OrderTracker) -> None:
    told(tracker, order(1))
    tracker.seen(trade(), "acc")

    assert tracker.trade(trade(), "acc", 1) is None
    last = tracker.trade(trade(22), "acc", 2)
    assert isinstance(last, ExecutionReport)
    assert last.cum_qty == Decimal(2)


def test_working_orders_are_those_that_were_not_seen_to_end(tracker: OrderTracker) -> None:
    list(tracker.placed(12, "acc", "kp2-e", 1))
    told(tracker, order(1))
    assert set(tracker.working("acc")) == {11, 12}

    told(tracker, order(3, at=1))

    assert tracker.working("acc") == (12,)
    assert tracker.working("other") == ()


@given(st.permutations([("o", 6), ("o", 1), ("o", 2), ("t", 21), ("t", 22), ("t", 21)]))
def test_any_order_of_messages_tells_each_execution_once(messages: list[tuple[str, int]]) -> None:
    tracker = make_tracker()
    fills: list[str | None] = []
    for kind, value in messages:
        if kind == "o":
            fills += [r.exec_id for r in told(tracker, order(value, at=value)) if r.exec_type == "trade"]
            continue
        report = tracker.trade(trade(value), "acc", 0)
        fills += [report.exec_id] if isinstance(report, ExecutionReport) else []

    assert sorted(map(str, fills)) == ["21", "22"]
