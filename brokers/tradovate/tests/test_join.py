"""Entities in any order make one report stream."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.tradovate import frames
from brokers.tradovate.entities import Command, Contract, Fill, Order, OrderVersion
from brokers.tradovate.rows import Seen, Unread
from brokers.tradovate.snapshot import absorb, explain
from brokers.tradovate.tests.recorded import NS, RECORDINGS, Bench, Event, recording
from kopitra.domain.errors import ProtocolViolation


class Frame(msgspec.Struct):
    """A recorded socket frame: event name, status and request id of each message."""

    name: str
    frame: str
    items: list[tuple[str | None, int, int | None]]


class PropsShape(msgspec.Struct):
    """A recorded props payload."""

    name: str
    d: msgspec.Raw
    entities: int


class Frames(msgspec.Struct):
    """The recorded frames."""

    frames: list[Frame]
    props: list[PropsShape]


def test_a_market_order_reads_as_new_then_trade() -> None:
    bench, events = recording("market_fill")

    for event in events:
        bench.take(event)

    assert bench.kinds() == ["pending_new", "new", "trade"]
    trade = bench.reports[-1]
    assert (trade.account_id, trade.cl_ord_id, trade.symbol) == ("acc", "kp00112233445566778899-e", "MNQZ6")
    assert (trade.exec_id, trade.last_qty, trade.last_px) == ("9001", Decimal(2), Decimal("21000.25"))
    assert (trade.ord_status, trade.cum_qty, trade.leaves_qty) == ("filled", Decimal(2), Decimal(0))


@given(st.permutations(range(10)))
def test_events_in_any_order_make_exactly_one_trade_that_names_its_order(order: list[int]) -> None:
    bench, events = recording("market_fill")

    for number in order:
        bench.take(events[number])

    trades = [report for report in bench.reports if report.exec_type == "trade"]
    assert [(t.exec_id, t.cl_ord_id, t.ord_status) for t in trades] == [
        ("9001", "kp00112233445566778899-e", "filled")
    ]
    assert bench.kinds().count("new") <= 1
    assert bench.joiner.next_due_ns is None


def test_a_moved_stop_is_told_when_it_is_confirmed_and_not_before() -> None:
    bench, events = recording("stop_move")

    for event in events[:6]:
        bench.take(event)
    before = bench.kinds()
    for event in events[6:]:
        bench.take(event)

    assert before == ["new", "pending_replace"]
    assert bench.kinds() == ["new", "pending_replace", "replaced"]
    assert [r.stop_price for r in bench.reports] == [Decimal(20970), Decimal(20970), Decimal("20980.5")]
    assert {r.parent_order_id for r in bench.reports} == {"50"}


@given(st.permutations(range(5)))
def test_a_move_in_any_order_ends_at_its_new_price(order: list[int]) -> None:
    bench, events = recording("stop_move")

    for event in events[:3]:
        bench.take(event)
    for number in order:
        bench.take(events[3 + number])

    replaced = [r for r in bench.reports if r.exec_type == "replaced"]
    assert [r.stop_price for r in replaced] == [Decimal("20980.5")]


def test_a_refused_move_keeps_the_old_price() -> None:
    bench, events = recording("stop_move")
    for event in events[:5]:
        bench.take(event)
    refusal = {
        "id": 9,
        "commandId": 701,
        "commandStatus": "ExecutionRejected",
        "rejectReason": "InvalidPrice",
        "text": "no",
    }

    bench.take(Event("commandReport", refusal))

    last = bench.reports[-1]
    assert (last.exec_type, last.stop_price, last.ord_status) == ("replace_rejected", Decimal(20970), "new")
    assert (last.text, last.ord_rej_reason) == ("InvalidPrice: no", "invalid-price")


@given(st.permutations(range(5)))
def test_a_rejection_in_any_order_keeps_its_reason(order: list[int]) -> None:
    bench, events = recording("rejection")

    for number in order:
        bench.take(events[number])

    last = bench.reports[-1]
    assert (last.exec_type, last.ord_rej_reason, last.text) == (
        "rejected", "size-limit", "MaxPosLimitReached: Max position is 5",
    )  # fmt: skip
    assert bench.kinds().count("rejected") == 1


def test_a_rejection_without_a_reason_is_told_after_a_while() -> None:
    bench, events = recording("rejection")
    for number in (0, 1, 2, 4):
        bench.take(events[number])
    assert "rejected" not in bench.kinds()

    bench.overdue(NS)

    assert bench.kinds()[-1] == "rejected"
    assert bench.joiner.next_due_ns is None


@pytest.mark.parametrize("proofs,told", [(2, ["9001"]), (1, []), (0, [])])
def test_a_fill_is_told_without_its_client_only_when_two_answers_named_none(
    proofs: int, told: list[str]
) -> None:
    bench, events = recording("market_fill")
    bench.take(events[8])
    assert bench.reports == []

    bench.overdue(NS)
    assert set(bench.asked) == {("order", 296445350031), ("command", 296445350031), ("version", 296445350031)}
    bench.take(events[2])
    for _ in range(proofs):
        bench.joiner.proved(296445350031)
    assert bench.reports == []
    assert bench.overdue(10 * NS) == bench.overdue(20 * NS) == []
    lost = bench.overdue(30 * NS)

    assert lost == [296445350031]
    assert [r.exec_id for r in bench.reports if r.exec_type == "trade"] == told


def test_a_fill_of_ours_is_told_without_its_numbers_when_those_do_not_come() -> None:
    bench, events = recording("market_fill")
    for number in (0, 2, 8, 9):  # command, order, fill; not its version
        bench.take(events[number])
    assert "trade" not in bench.kinds()

    bench.overdue(NS)
    assert "trade" not in bench.kinds()
    bench.overdue(10 * NS)

    trade = next(r for r in bench.reports if r.exec_type == "trade")
    assert (trade.exec_id, trade.cl_ord_id) == ("9001", "kp00112233445566778899-e")


def test_what_the_stream_has_told_of_goes_on_being_news_while_history_is_taken_in() -> None:
    bench, events = recording("market_fill")
    for number in (0, 1, 2):
        bench.take(events[number])
    with bench.joiner.muted(silent=True):
        bench.take(events[8])
        bench.take(events[8].but(id=9009, orderId=7))

    assert [r.exec_id for r in bench.reports if r.exec_type == "trade"] == ["9001"]


def test_a_lost_order_is_asked_for_again_when_it_fills_again_and_told_once_it_is_explained() -> None:
    bench, events = recording("market_fill")
    bench.take(events[8])
    for seconds in (1, 4, 7, 10):
        bench.overdue(seconds * NS)
    assert bench.joiner.next_due_ns is None

    bench.take(events[8].but(id=9002), 20 * NS)
    assert [track.order_id for track in bench.joiner.due(30 * NS)] == [296445350031]
    for number in (0, 1, 2):
        bench.take(events[number], 30 * NS)

    assert [r.exec_id for r in bench.reports if r.exec_type == "trade"] == ["9001", "9002"]


def test_a_filled_order_whose_fills_do_not_come_is_asked_for_them() -> None:
    bench, events = recording("market_fill")
    for number in (0, 1, 2, 9):
        bench.take(events[number])

    bench.overdue(NS)

    assert bench.asked == [("fills", 296445350031)]
    bench.take(events[8])
    assert bench.kinds()[-1] == "trade"
    assert bench.joiner.next_due_ns is None


def test_the_same_fill_twice_is_one_trade_and_a_bust_takes_it_back_once() -> None:
    bench, events = recording("market_fill")
    for event in [*events, events[8], events[8]]:
        bench.take(event)
    busted = events[8].but(active=False)
    bench.take(busted)
    bench.take(busted)

    assert bench.kinds().count("trade") == 1
    assert bench.kinds().count("trade_cancel") == 1


def test_an_unknown_contract_is_looked_up_and_then_told() -> None:
    _, events = recording("market_fill")
    bench = Bench()
    for event in events:
        bench.take(event)
    assert bench.asked == [("contract", 3570918)]
    assert bench.reports == []

    bench.book.learn([msgspec.convert({"id": 3570918, "name": "MNQZ6"}, Contract)])
    bench.joiner.recheck(0)

    assert bench.kinds()[-1] == "trade"


def test_orders_of_other_accounts_are_nobodys_business() -> None:
    bench, events = recording("market_fill")
    for event in events:
        bench.take(event.but(accountId=1) if "accountId" in event.entity else event)

    assert bench.reports == []


_AT = "2026-11-20T15:00:00Z"
_ORDER = {"id": 1, "accountId": 1, "timestamp": _AT, "action": "Buy", "ordStatus": "Working"}
_FILL = {"id": 1, "orderId": 1, "contractId": 1, "timestamp": _AT, "action": "Buy", "qty": 1, "price": 1}


@pytest.mark.parametrize(
    "entity,shape",
    [
        ({**_ORDER, "ordStatus": "Resting"}, Order),
        ({**_ORDER, "action": "Hold"}, Order),
        ({"id": 1, "orderId": 1, "orderQty": 1, "orderType": "Iceberg"}, OrderVersion),
        ({"id": 1, "orderId": 1, "commandType": "Undo", "commandStatus": "Pending"}, Command),
        ({**_FILL, "qty": 1.5}, Fill),
    ],
    ids=["status", "action", "order type", "command type", "fraction of a contract"],
)
def test_a_word_that_decides_over_money_must_be_known(entity: dict[str, object], shape: type[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(entity), type=shape)


def test_the_status_unknown_is_an_alert_and_not_a_report() -> None:
    bench, events = recording("market_fill")
    unknown = events[2].but(ordStatus="Unknown")

    with pytest.raises(ProtocolViolation):
        bench.take(unknown)


def test_a_part_that_is_late_takes_no_newer_numbers_back() -> None:
    bench, events = recording("market_fill")
    for number in (0, 1, 2):
        bench.take(events[number])
    told = msgspec.convert(events[1].entity, OrderVersion)
    bench.joiner.adopt(msgspec.structs.replace(told, id=told.id + 1, order_qty=5), NS)
    before = bench.kinds()

    absorb(Seen(order_versions=[told]), bench.joiner, NS, first=False, late=True)

    assert before[-1] == "replaced"
    assert bench.kinds() == before


@pytest.mark.parametrize("unread,proofs", [([], 1), ([Unread("command", None, None, "odd", "")], 0)])
def test_a_list_proves_something_only_where_each_of_its_commands_reads(
    unread: list[Unread], proofs: int
) -> None:
    bench, events = recording("market_fill")
    bench.take(events[8])
    order, other = (msgspec.convert(events[n].entity, shape) for n, shape in ((2, Order), (0, Command)))
    assert isinstance(order, Order)
    assert isinstance(other, Command)
    cancel = msgspec.structs.replace(other, command_type="Cancel")

    explain(Seen(orders=[order], commands=[cancel], unread=unread), bench.joiner, {order.id}, NS)
    explain(Seen(orders=[order]), bench.joiner, {order.id}, NS)  # no command at all: it lags

    assert [track.proofs for track in bench.joiner.waiting] == [proofs]


FRAMES = msgspec.json.decode((RECORDINGS / "frames.json").read_bytes(), type=Frames)


@pytest.mark.parametrize("sample", FRAMES.frames, ids=[sample.name for sample in FRAMES.frames])
def test_a_frame_holds_its_messages(sample: Frame) -> None:
    items = frames.parse_items(sample.frame.encode())

    assert [(item.e, item.s, item.i) for item in items] == sample.items


@pytest.mark.parametrize("sample", FRAMES.props, ids=[sample.name for sample in FRAMES.props])
def test_events_come_as_objects_and_as_arrays(sample: PropsShape) -> None:
    assert len(frames.parse_props(sample.d)) == sample.entities


@given(st.binary(max_size=100))
def test_bytes_that_are_no_frame_are_a_protocol_violation(noise: bytes) -> None:
    try:
        items = frames.parse_items(b"a" + noise)
    except ProtocolViolation:
        return
    assert isinstance(items, list)


def test_a_request_always_has_its_three_newlines() -> None:
    assert frames.request("account/list", 2) == b"account/list\n2\n\n"
    assert frames.request("contract/item", 3, query="id=7") == b"contract/item\n3\nid=7\n"
