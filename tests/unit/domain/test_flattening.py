"""What a flatten makes of its reads (R-094, R-095): cases, and a broker that is slow in every way that it may be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.book import Book
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.flattening import (
    PATIENCE_S,
    UNDER_WAY,
    Ours,
    Pace,
    Shown,
    Step,
    is_flattening,
    judge,
    stopped_by,
)
from kopitra.domain.fold import fold
from kopitra.domain.journal import EntriesBlocked, FlattenNoted
from tests.unit.domain.copy_world import ESZ6, NOW, d

NQZ6 = "NQZ6"
NS = 1_000_000_000
#: monotonic nanoseconds at which the cases are judged
AT = 100 * NS
OLD = AT - int(PATIENCE_S[0] * NS)


def listed(order_id: str, symbol: str = ESZ6, *, ord_type: str = "market") -> ExecutionReport:
    """A working order as a broker's list shows it."""
    return ExecutionReport(
        "a1", order_id, "order_status", "new", symbol, "sell", NOW, order_qty=d(2), ord_type=ord_type,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def ours(
    name: str, order_id: str | None, contract: str = ESZ6, *, since_ns: int = AT, closes: bool = True
) -> Ours:
    return Ours(name, contract, order_id, closes, False, since_ns, int(PATIENCE_S[0] * NS))


def judged(shown: Shown, *sent: Ours, **counted: int) -> Step:
    return judge(shown, sent, {contract: d(qty) for contract, qty in counted.items()}, AT)


HELD = {ESZ6: d(2), NQZ6: d(-1)}


def test_what_is_held_is_closed_and_what_works_is_canceled() -> None:
    stop = listed("7", ord_type="stop")
    step = judged(Shown(HELD, (stop,), True), ESZ6=2, NQZ6=-1)
    assert step.closes == ((ESZ6, d(2)), (NQZ6, d(-1)))
    assert step.cancels == (stop,)
    assert not step.is_flat


def test_a_close_that_works_is_left_alone_and_holds_up_its_own_contract_only() -> None:
    """R-094: its own close, or an exit of a leader that had left before."""
    step = judged(Shown(HELD, (listed("8"),), True), ours("c", "8"), ESZ6=2, NQZ6=-1)
    assert (step.cancels, step.closes) == ((), ((NQZ6, d(-1)),))
    assert step.waits == "c works in ESZ6"


def test_a_close_that_took_too_long_is_canceled_and_followed_only_when_it_is_gone() -> None:
    slow = ours("c", "8", since_ns=OLD)
    step = judged(Shown(HELD, (listed("8"),), True), slow, ESZ6=2, NQZ6=-1)
    assert ([r.order_id for r in step.cancels], step.closes) == (["8"], ((NQZ6, d(-1)),))
    assert judged(Shown(HELD, (), True), slow, ESZ6=2, NQZ6=-1).closes == tuple(sorted(HELD.items()))


def test_a_native_close_that_the_broker_lists_before_it_answers_is_left_alone() -> None:
    unanswered = ours("c", None)
    step = judged(
        Shown({ESZ6: d(2)}, (listed("9"), listed("10", ord_type="limit")), True), unanswered, ESZ6=2
    )
    assert [r.order_id for r in step.cancels] == ["10"]
    assert not step.closes


def test_a_read_that_lags_behind_executions_closes_nothing() -> None:
    """R-004: the position is closed already, and the list does not know yet."""
    assert judged(Shown({ESZ6: d(2)}, (), False)).closes == ()
    assert judged(Shown({ESZ6: d(2)}, (), False), ESZ6=2).closes == ((ESZ6, d(2)),)
    assert not judged(Shown({}, (), False), ESZ6=2).is_flat
    assert judged(Shown({}, (), True), ESZ6=2).is_flat


def test_nothing_is_flat_while_an_entry_may_still_fill() -> None:
    assert not judged(Shown({}, (), True), ours("e", None, closes=False)).is_flat
    assert judged(Shown({}, (), True), ours("e", None, closes=False, since_ns=OLD)).is_flat


def test_its_own_closes_are_no_news_for_the_pace() -> None:
    """R-094: a new order id each time would keep the reads quick for ever."""
    pictures = {
        judged(Shown({ESZ6: d(2)}, (listed(n),), True), ours(n, n), ESZ6=2).picture for n in ("1", "2")
    }
    assert len(pictures) == 1


def note(book: Book, state: str, flatten_id: str = "F", detail: str = "", *, given_up: bool = False) -> None:
    fold(book, FlattenNoted(flatten_id, "a1", state, detail, "ann", given_up))  # pyright: ignore[reportArgumentType]


def test_the_mark_stands_beside_another_block_and_goes_alone() -> None:
    """R-001, R-040: whoever lifts one of them must have looked at it."""
    book = Book()
    fold(book, EntriesBlocked("a1", "a fault"))
    note(book, "requested")
    fold(book, EntriesBlocked("a1", "another fault"))
    assert is_flattening(book.flattens, "a1")
    assert stopped_by(book.blocked, book.flattens, "a1") == f"another fault; {UNDER_WAY}"
    note(book, "flat_confirmed")
    assert (book.blocked, book.flattens) == ({"a1": "another fault"}, {})


def test_a_failed_mark_is_lifted_with_the_block_and_one_under_way_is_not() -> None:
    """R-102."""
    book = Book()
    note(book, "requested")
    fold(book, EntriesBlocked("a1", "", who="ann"))
    assert is_flattening(book.flattens, "a1")
    note(book, "failed", detail="not flat after 60 s")
    assert not is_flattening(book.flattens, "a1")
    assert "tried again slowly" in stopped_by(book.blocked, book.flattens, "a1")
    note(book, "failed", detail="turning", given_up=True)
    assert "tried again" not in stopped_by(book.blocked, book.flattens, "a1")
    note(book, "pending", detail="try 1")
    assert is_flattening(book.flattens, "a1")
    note(book, "failed")
    fold(book, EntriesBlocked("a1", "", who="ann"))
    assert not book.flattens


def test_a_request_that_joins_does_not_take_the_mark_over() -> None:
    """R-094: after a crash the first request goes on."""
    book = Book()
    note(book, "requested", "F")
    note(book, "requested", "G")
    assert book.flattens["a1"].flatten_id == "F"


# a slow broker -----------------------------------------------------------------------------------------------

TICK = NS // 20
#: what lists may lag in the model
LAG = NS
LAST = 90 * NS


@dataclass
class Order:
    name: str
    qty: int
    sent: int
    arrives: int
    fills: int
    canceled: int = 1 << 62
    #: "", "works", "filled", "canceled": at the broker
    state: str = ""
    #: when the house hears of its end
    heard: int = 1 << 62


@dataclass
class Model:
    """A broker with one contract, and the house's knowledge of it."""

    net: int
    lag: int
    event: int
    delays: Sequence[tuple[int, int]]
    counted: int = 0
    filled_ns: int = 0
    orders: list[Order] = field(default_factory=list[Order])
    past: list[tuple[int, tuple[str, ...]]] = field(default_factory=list[tuple[int, tuple[str, ...]]])

    def __post_init__(self) -> None:
        self.counted = self.net

    def send(self, now: int, qty: int) -> None:
        arrives, fills = self.delays[len(self.orders) % len(self.delays)]
        name = f"o{len(self.orders)}"
        self.orders.append(Order(name, qty, now, now + arrives, now + arrives + fills))

    def tick(self, now: int) -> None:
        before = self.net
        for order in self.orders:
            if order.state == "" and now >= order.arrives:
                order.state = "works"
            if order.state == "works" and now >= order.canceled:
                order.state, order.heard = "canceled", now + self.event
            if order.state == "works" and now >= order.fills:
                order.state, order.heard = "filled", now + self.event
                self.net += order.qty
            if order.state == "filled" and order.heard == now:
                self.counted += order.qty
                self.filled_ns = now
        assert before * self.net >= 0, "the position turned"
        assert abs(self.net) <= abs(before), "it grew"
        self.past.append((self.net, tuple(o.name for o in self.orders if o.state == "works")))

    def read(self, now: int) -> Step:
        net, working = self.past[max(0, len(self.past) - 1 - self.lag // TICK)]
        known = [o for o in self.orders if now < o.heard]
        sent = [
            ours(o.name, o.name if now >= o.arrives + self.event else None, since_ns=o.sent) for o in known
        ]
        over = {o.name for o in self.orders if o.state == "filled" and now >= o.heard}
        settled = not self.filled_ns or now - self.filled_ns >= LAG
        shown = Shown(
            {ESZ6: Decimal(net)} if net else {}, tuple(listed(n) for n in working if n not in over), settled
        )
        return judge(shown, sent, {ESZ6: Decimal(self.counted)}, now)


DELAYS = st.tuples(st.integers(0, 30), st.integers(0, 90)).map(lambda pair: (pair[0] * TICK, pair[1] * TICK))


@given(
    net=st.sampled_from([-3, -1, 1, 2]),
    lag=st.integers(0, LAG // TICK),
    event=st.integers(0, 20),
    delays=st.lists(DELAYS, min_size=1, max_size=4),
    exit_before=st.one_of(st.none(), st.integers(0, 40)),
)
@settings(max_examples=150, deadline=None)
def test_a_flatten_never_turns_a_position_and_ends_flat(
    net: int, lag: int, event: int, delays: list[tuple[int, int]], exit_before: int | None
) -> None:
    """R-012, R-094, R-095: orders that take up to 1.5 s to arrive and 4.5 s to fill, events that come a second late,
    lists that lag a second, and a leader's exit that had left before: it closes once, and confirms what is true."""
    model, pace = Model(net, lag * TICK, event * TICK, delays), Pace()
    now = NS
    if exit_before is not None:
        model.send(now, -net)
        for _ in range(exit_before):
            model.tick(now)
            now += TICK
    flat, next_read = 0, now
    while flat < 2:
        assert now < LAST, "it is not flat"
        model.tick(now)
        if now >= next_read:
            step = model.read(now)
            flat = flat + 1 if step.is_flat else 0
            for report in step.cancels:
                order = next(o for o in model.orders if o.name == report.order_id)
                order.canceled = min(order.canceled, now + 2 * TICK)
            for _, qty in step.closes:
                model.send(now, -int(qty))
            next_read = now + int(pace.pause_s(step.picture) * NS)
        now += TICK
    assert model.net == 0
    assert not [o for o in model.orders if o.state == "works"]
