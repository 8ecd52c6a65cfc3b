"""The asserted invariants whose break needs no broker: ids (I-07), highest values (I-19), doubled fills (I-08)."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from gateway_container.engine.assertions import UNLISTED_NS, Assertions, Means
from gateway_container.engine.state import NEVER_NS, State
from kopitra.domain.book import ChildOrder, Position
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import EntriesBlocked, Entry
from kopitra.domain.measuring import Measure
from kopitra.domain.orders import OrderIntent

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NAME = cl_ord_id("ls1", "a", "e")
INTENT = OrderIntent(NAME, "ls1", "a", "lead", "e", "entry", "ESZ6", "buy", Decimal(1))
REPORT = ExecutionReport("a", "7", "order_status", "new", "ESZ6", "buy", NOW, NAME)
FILL = REPORT._replace(
    exec_type="trade", ord_status="filled", exec_id="x1", last_qty=Decimal(1), last_px=Decimal(6800)
)
MEASURE = Measure(
    1, Decimal(50), date(2026, 11, 20), Decimal(50), Decimal(50), Decimal(60), Decimal(60), Decimal(55)
)


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def monotonic_ns(self) -> int:
        return 0


class Forever:
    """A lease without an end."""

    valid_until_ns = NEVER_NS
    exits_until_ns = NEVER_NS


class Board:
    """Assertions, and what they said."""

    def __init__(self) -> None:
        self.state = State(Still())
        self.noted: list[Entry] = []
        self.alerts: list[str] = []
        self.asserts = Assertions(self.state)
        self.counts: dict[str, int] = {}
        self.asserts.attach(
            Means(Forever(), self._note, lambda _s: None, lambda: None, self._alert, self.counts)
        )

    def _note(self, _workspace: str, entry: Entry) -> None:
        self.noted.append(entry)
        if isinstance(entry, EntriesBlocked):
            self.state.book.blocked[entry.account_id] = entry.reason

    def _alert(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None:
        assert text
        assert account_id == "a"
        assert cl_ord_id in ("", NAME, "kp00000000000000000000-e")
        self.alerts.append(code)

    def order(self, intent: OrderIntent = INTENT) -> ChildOrder:
        child = ChildOrder(intent, "working", intent.qty, order_id="7")
        self.state.book.add(child)
        self.state.book.by_order_id["a", "7"] = intent.cl_ord_id
        return child


def test_i07_a_listed_order_whose_id_its_row_gives_is_fine() -> None:
    """I-07."""
    board = Board()
    board.order()
    board.asserts.listed("a", [REPORT], 0)
    assert (board.alerts, board.state.book.blocked) == ([], {})


def test_i07_a_listed_order_whose_id_its_row_does_not_give_stops_the_account() -> None:
    """I-07."""
    board = Board()
    forged = INTENT._replace(cl_ord_id="kp00000000000000000000-e")
    board.order(forged)
    board.asserts.listed("a", [REPORT._replace(cl_ord_id=forged.cl_ord_id)], 0)
    assert board.alerts == ["invariant-i-07"]
    assert list(board.state.book.blocked) == ["a"]


def test_i07_an_order_that_two_lists_do_not_name_is_an_orphan_of_the_journal() -> None:
    """I-07: one list proves nothing, a list that names it again forgets."""
    board = Board()
    board.order()
    board.asserts.listed("a", [], 0)
    board.asserts.listed("a", [REPORT], UNLISTED_NS)
    board.asserts.listed("a", [], UNLISTED_NS + 1)
    board.asserts.listed("b", [], 3 * UNLISTED_NS)
    assert board.alerts == []
    board.asserts.listed("a", [], 2 * UNLISTED_NS + 1)
    assert board.alerts == ["invariant-i-07"]


def test_i08_one_execution_that_the_book_takes_twice_stops_the_account() -> None:
    """I-08: the sum has a memory of its own."""
    board = Board()
    position = board.state.book.positions["a", "ESZ6"] = Position()
    for _ in range(2):
        position.fill("buy", Decimal(1), Decimal(6800))
        board.asserts.filled(FILL)
    assert board.alerts == ["invariant-i-08"]


def test_i08_two_executions_are_two() -> None:
    """I-08."""
    board = Board()
    position = board.state.book.positions["a", "ESZ6"] = Position()
    for name in ("x1", "x2"):
        position.fill("buy", Decimal(1), Decimal(6800))
        board.asserts.filled(FILL._replace(exec_id=name))
    del board.state.book.positions["a", "ESZ6"]  # a flatten's word
    board.state.book.positions["a", "ESZ6"] = anew = Position()
    anew.fill("sell", Decimal(1), Decimal(6800))
    board.asserts.filled(FILL._replace(exec_id="x3", side="sell"))
    assert board.alerts == []


def test_i19_a_highest_value_that_falls_stops_the_account_and_is_told_until_it_is_back() -> None:
    """I-19."""
    board = Board()
    board.asserts.marked({"a": MEASURE})
    board.asserts.marked({"a": replace(MEASURE, peak=Decimal(61))})
    assert board.alerts == []
    board.asserts.marked({"a": MEASURE})
    board.asserts.marked({"a": MEASURE})
    assert board.alerts == ["invariant-i-19"]
    assert board.counts["I-19"] == 2


def test_i19_a_new_start_may_lower_it() -> None:
    """I-19, R-104."""
    board = Board()
    board.asserts.marked({"a": MEASURE})
    board.asserts.marked({"a": replace(MEASURE, number=2, peak=Decimal(1))})
    assert board.alerts == []
