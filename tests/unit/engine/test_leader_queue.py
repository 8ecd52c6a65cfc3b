"""Leaders' acts that wait for the database: their order, what overtakes them, and one that cannot be planned."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from gateway_container.engine.away import Away
from gateway_container.engine.config import GatewayConfig, LeaderConfig
from gateway_container.engine.intake import Intake, Pending
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.state import State
from kopitra.domain.errors import StoreError, Unavailable
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.leader import LeaderTracker
from kopitra.domain.signals import Side, Signal
from kopitra.store.drafts import Committed
from tests.unit.domain.copy_world import ESZ6, NOW, d

ALONE = LeaderConfig("L", "w", "Lead", "boss")


class Watch:
    """Stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic_ns(self) -> int:
        return 1


def _nothing_shrinks(_signal: Signal) -> bool:
    return False


class Doors:
    """A feed whose intake a test opens and shuts; what passed is listed, exits-only ones in brackets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.passed: list[str] = []
        self.alerts: list[str] = []
        self.error: Callable[[Signal], Exception | None] = lambda _signal: None
        self.commits: list[asyncio.Future[Committed]] = []
        self.state = State(Watch())
        self.state.config = GatewayConfig(1, {}, {"L": ALONE}, {}, {})
        intake, away = object.__new__(Intake), object.__new__(Away)
        monkeypatch.setattr(intake, "accept", self._accept)
        monkeypatch.setattr(away, "shrinks", _nothing_shrinks)
        self.feed = LeaderFeed(self.state, intake, away, lambda _told: None, self._alert)
        self.feed.configure()
        self.feed.look(AccountSnapshot("boss", (), (), (), None, 1))

    def _alert(self, code: str, _text: str, _account_id: str) -> None:
        self.alerts.append(code)

    def _accept(self, signal: Signal, _answer: object, _ns: object, *, exits_only: bool) -> Pending:
        error = self.error(signal)
        if error is not None:
            raise error
        name = signal.leader_order_id or ""
        self.passed.append(f"[{name}]" if exits_only else name)
        self.commits.append(asyncio.get_running_loop().create_future())
        return Pending(FanoutPlan("ls", signal.signal_id, NOW, 1, (), ()), self.commits[-1])

    def heard(self) -> list[Signal]:
        """Signals as they are made, from now on; they go no further."""
        found: list[Signal] = []

        def take(signal: Signal, _received_ns: int) -> None:
            found.append(signal)

        self._patch.setattr(self.feed, "_take", take)
        return found

    def shut(self) -> None:
        """The database is away."""
        self.error = lambda _signal: Unavailable("down")

    def open(self) -> None:
        """It is back."""
        self.error = lambda _signal: None

    def fills(self, name: str, side: Side, qty: int) -> None:
        report = ExecutionReport("boss", name, "trade", "filled", ESZ6, side, NOW, exec_id=name)
        self.feed.observe(report._replace(last_qty=d(qty), last_px=d(5000)))

    def rests(self, name: str, price: int = 4990, exec_type: str = "new") -> None:
        status = "canceled" if exec_type == "canceled" else "new"
        report = ExecutionReport("boss", name, "new", status, ESZ6, "buy", NOW, ord_type="limit")
        moved = report._replace(exec_type=exec_type, order_qty=d(1), price=d(price))
        self.feed.observe(moved)

    async def emptied(self) -> None:
        async with asyncio.timeout(5):
            while self.feed.waiting:
                await asyncio.sleep(0.01)

    def waiting(self) -> list[str]:
        return [signal.leader_order_id or "" for signal in self.feed.waiting]


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    return Doors(monkeypatch)


async def test_an_act_whose_commit_failed_waits_before_what_came_after_it(doors: Doors) -> None:
    """I-10: numbers of their telling, not of their failing."""
    doors.fills("in", "buy", 1)
    doors.shut()
    doors.fills("more", "buy", 1)
    doors.commits[0].set_exception(Unavailable("unclear"))
    await asyncio.sleep(0)
    assert doors.waiting() == ["in", "more"]
    doors.open()
    await doors.emptied()
    assert doors.passed == ["in", "in", "more"]


async def test_a_fill_that_an_exit_followed_opens_nothing_when_it_is_tried_again(doors: Doors) -> None:
    """I-10."""
    doors.fills("in", "buy", 2)
    doors.shut()
    doors.fills("out", "sell", 2)
    doors.commits[0].set_exception(Unavailable("unclear"))
    await asyncio.sleep(0)
    doors.open()
    await doors.emptied()
    assert doors.passed == ["in", "[in]", "out"]
    doors.fills("again", "buy", 1)
    assert doors.passed[-1] == "again"


async def test_one_act_that_cannot_be_planned_takes_no_other_with_it(doors: Doors) -> None:
    """P3: what waited behind it, exits included, is taken all the same, and a person is told."""
    doors.shut()
    for name in ("a", "b", "c"):
        doors.fills(name, "buy", 1)
    doors.error = lambda signal: ZeroDivisionError() if signal.leader_order_id == "b" else None
    doors.fills("out", "sell", 3)
    await doors.emptied()
    assert doors.passed == ["[a]", "[c]", "out"]
    assert doors.alerts == ["leader-signal-lost"]


async def test_a_signal_that_the_journal_cannot_hold_is_told(doors: Doors) -> None:
    """P3: never silent."""
    doors.fills("in", "buy", 1)
    doors.commits[0].set_exception(StoreError("it has no bytes"))
    await asyncio.sleep(0)
    assert (doors.alerts, doors.waiting()) == (["leader-signal-lost"], [])


@pytest.mark.parametrize("end", ["canceled", "filled"])
async def test_an_order_that_ended_while_its_signal_waited_is_not_placed(doors: Doors, end: str) -> None:
    """I-10: it would rest at followers although it is over at the leader."""
    doors.shut()
    doors.rests("r")
    if end == "canceled":
        doors.rests("r", exec_type="canceled")
    else:
        doors.fills("r", "buy", 1)
    doors.open()
    await doors.emptied()
    assert doors.passed == ["r"]  # the cancel, or the fill


async def test_an_order_that_moved_while_its_signal_waited_rests_where_it_is_now(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-032."""
    prices: list[Decimal | None] = []
    doors.shut()
    doors.rests("r")
    doors.rests("r", 4991, "replaced")
    doors.error = lambda signal: prices.append(signal.price)
    await doors.emptied()
    assert prices == [4991, 4991]


async def test_nothing_is_counted_from_zero(doors: Doors) -> None:
    """R-033: before the first read a fill is no signal; the read is asked for, and has it."""
    asked: list[str] = []
    feed = doors.feed
    feed.soon = asked.append
    taken = doors.heard()
    doors.state.config = replace(doors.state.config, leaders={})
    feed.configure()
    doors.state.config = replace(doors.state.config, leaders={"L": ALONE})
    feed.configure()
    feed.read_soon()
    doors.fills("x", "sell", 1)
    assert (taken, asked) == ([], ["boss", "boss"])
    feed.look(AccountSnapshot("boss", (PositionReport("boss", ESZ6, d(1), None, NOW),), (), (), None, 1))
    doors.fills("y", "sell", 1)
    assert [signal.action for signal in taken] == ["exit"]


def test_executions_of_long_before_the_first_read_are_no_news(doors: Doors) -> None:
    """R-042: the day's list names what the first read's shorter one left out; its positions had it."""
    taken = doors.heard()
    old = ExecutionReport("boss", "o", "trade", "filled", ESZ6, "buy", NOW.replace(hour=1), exec_id="old")
    new = old._replace(exec_id="new", transact_time=NOW, last_px=d(5000))
    told = tuple(report._replace(last_qty=d(1)) for report in (old, new))
    doors.feed.look(AccountSnapshot("boss", (), (), told, None, 2))
    assert [signal.signal_id for signal in taken] == [_id_of(told[1])]


def _id_of(report: ExecutionReport, *scope: str) -> str:
    tracker = LeaderTracker("w", "L", "boss")
    tracker.scope = scope
    return tracker.signals(report, NOW)[0].signal_id


def test_a_second_leader_of_an_account_has_ids_of_its_own(doors: Doors) -> None:
    """P3; and the first one's are what they were before, so that a deploy in either direction copies nothing twice."""
    taken = doors.heard()
    other = LeaderConfig("A", "w", "Another", "boss")
    doors.state.config = GatewayConfig(2, {}, {"L": ALONE, "A": other}, {}, {})
    doors.feed.configure()
    doors.feed.look(AccountSnapshot("boss", (), (), (), None, 2))
    doors.fills("x", "buy", 1)
    fill = ExecutionReport("boss", "x", "trade", "filled", ESZ6, "buy", NOW, exec_id="x", last_qty=d(1))
    assert {s.leader: s.signal_id for s in taken} == {"A": _id_of(fill), "L": _id_of(fill, "L")}
    assert _id_of(fill) == "sge21617861f639d454704"


async def test_a_resting_order_that_cannot_be_told_again_takes_no_other_act_with_it(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: what waited behind it is taken, and a person is told."""

    def broken(_tracker: LeaderTracker, _signal: Signal) -> Signal | None:
        raise ZeroDivisionError

    monkeypatch.setattr(LeaderTracker, "at_rest", broken)
    doors.shut()
    doors.rests("r")
    doors.fills("in", "buy", 1)
    doors.open()
    await doors.emptied()
    assert doors.passed == ["in"]
    assert doors.alerts == ["leader-signal-lost"]


async def test_a_leader_that_is_out_is_not_taken_for_an_order_that_is_over(doors: Doors) -> None:
    """The exit of a leader that no read explains is no fill, and its order rests nowhere: it waits all the same."""
    sold = ExecutionReport("boss", "o9", "trade", "filled", ESZ6, "sell", NOW, exec_id="x9", last_qty=d(2))
    out = LeaderTracker("w", "L", "boss").shrinking(sold, d(0), d(2), NOW)
    assert out is not None
    doors.shut()
    doors.feed._take(out, 1)
    assert doors.waiting() == ["o9"]
    doors.open()
    await doors.emptied()
    assert doors.passed == ["o9"]
