"""A leader whose first read says nothing: what shrinks is followed all the same, and an operator hears of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway_container.engine import leader_unread
from gateway_container.engine.away import Away
from gateway_container.engine.config import GatewayConfig, LeaderConfig
from gateway_container.engine.intake import Intake
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.leader_unread import UNREAD_S
from gateway_container.engine.state import State
from kopitra.domain.acts import leader_acts
from kopitra.domain.book import LeaderOrder, LeaderPosition
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.fold_leader import leader_moved
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.signals import Side, Signal
from tests.faults.virtual_loop import VirtualClock, VirtualLoop
from tests.unit.domain.copy_world import ESZ6, World, d, rule

START = datetime(2026, 11, 20, 15, tzinfo=UTC)
NOTHING = AccountSnapshot("boss", None, None, None, None, 1)


class Blind:
    """A feed in virtual time whose leader L was known to hold `known` ES; signals go into the book at once."""

    def __init__(self, known: int) -> None:
        self.loop = VirtualLoop()
        clock = VirtualClock(self.loop, START)
        self.state = State(clock)
        self.state.config = GatewayConfig(1, {}, {"L": LeaderConfig("L", "w", "Lead", "boss")}, {}, {})
        self.state.book.leaders["L", "ES"] = LeaderPosition(Decimal(known))
        self.alerts: list[str] = []
        self.taken: list[Signal] = []
        self.resets: list[LeaderSnapshot] = []
        intake, away = object.__new__(Intake), object.__new__(Away)
        self.feed = LeaderFeed(self.state, intake, away, self.resets.append, self._alert)
        self.feed._take = self._take
        self.feed.configure()

    def _alert(self, code: str, _text: str, _account_id: str) -> None:
        self.alerts.append(code)

    def _take(self, signal: Signal, _received_ns: int) -> None:
        self.taken.append(signal)
        (act,) = leader_acts(signal, self.state.book)
        leader_moved(self.state.book, signal, act)

    @property
    def acts(self) -> list[tuple[str, int]]:
        return [(s.action, int(s.leader_position or 0)) for s in self.taken]

    def fill(self, exec_id: str, side: Side, qty: int = 1) -> ExecutionReport:
        return ExecutionReport(
            "boss", f"o{exec_id}", "trade", "filled", ESZ6, side, self.state.clock.now(), exec_id=exec_id,
            last_qty=d(qty), last_px=d(5000),
        )  # fmt: skip

    def read(self, held: int, *executions: ExecutionReport) -> None:
        rows = (PositionReport("boss", ESZ6, d(held), None, START),) * bool(held)
        self.feed.look(replace(NOTHING, positions=rows, executions=executions))

    def play(self, *steps: Callable[[], object] | float) -> None:
        """Calls, and seconds between them."""

        async def _play() -> None:
            for step in steps:
                if callable(step):
                    step()
                else:
                    await asyncio.sleep(step)

        self.loop.run_until_complete(_play())

    def told(self, *fills: ExecutionReport) -> Callable[[], None]:
        def tell() -> None:
            for fill in fills:
                self.feed.observe(fill)

        return tell


def test_an_exit_is_followed_although_no_read_shows_positions() -> None:
    """Followers stayed in the market behind a leader that had left, and nobody was told."""
    blind = Blind(1)
    blind.feed.look(NOTHING)
    sold = blind.fill("x1", "sell")
    blind.play(blind.told(sold), UNREAD_S - 1)
    assert (blind.alerts, blind.acts) == (["leader-not-read"], [])
    blind.play(lambda: blind.feed.look(NOTHING), 2)
    assert blind.acts == [("exit", 0)]
    assert blind.taken[0].is_fill
    blind.play(blind.told(sold))
    assert len(blind.taken) == 1


def test_from_then_on_each_fill_is_followed_at_once_and_told_once_a_minute() -> None:
    blind = Blind(-3)
    blind.play(blind.told(blind.fill("x1", "buy"), blind.fill("x2", "buy")), UNREAD_S + 1)
    assert blind.acts == [("reduce", -2), ("reduce", -1)]
    blind.play(blind.told(blind.fill("x3", "buy", 5)))
    assert (blind.acts[2:], blind.taken[2].quantity) == ([("exit", 0)], 1)
    assert len(blind.alerts) == 1
    blind.play(60.0, blind.told(blind.fill("x4", "buy")))
    assert (len(blind.alerts), len(blind.taken)) == (2, 3)


def test_what_grows_or_opens_makes_no_signal() -> None:
    for known in (1, 0):
        blind = Blind(known)
        blind.play(blind.told(blind.fill("x1", "buy")), UNREAD_S + 1, blind.told(blind.fill("x2", "buy")))
        assert (blind.alerts, blind.taken) == (["leader-not-read"], [])


def resting(known: int = 0, leaves: int = 2) -> Blind:
    """Followers mirror an order of the leader that rests."""
    blind = Blind(known)
    blind.state.book.leaders["L", "ES"].working["o1"] = LeaderOrder("buy", d(leaves), counts=True)
    return blind


def of_the_resting(bought: ExecutionReport) -> ExecutionReport:
    """The fill of the order that rests."""
    return bought._replace(order_id="o1")


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_leader_whose_resting_order_filled_unread_takes_its_followers_out(is_heard: bool) -> None:
    """The copies of the order filled, the leader left, and its followers stayed in."""
    blind = resting()
    bought = (of_the_resting(blind.fill("x1", "buy", 2)),) if is_heard else ()
    blind.play(blind.told(*bought), UNREAD_S + 1, blind.told(blind.fill("x2", "sell", 2)), UNREAD_S + 1)
    (out,) = blind.taken
    assert (out.action, out.is_fill, out.quantity, out.leader_position) == ("exit", False, None, None)
    book = blind.state.book.leaders["L", "ES"]
    assert (book.qty, book.working) == (0, {})
    blind.play(blind.told(blind.fill("x3", "sell")))
    assert len(blind.taken) == 1


def test_more_is_closed_than_was_known_only_where_something_rested() -> None:
    blind = resting(known=1)
    blind.play(blind.told(blind.fill("x1", "sell", 1)), UNREAD_S + 1)
    assert blind.acts == [("exit", 0)]
    assert blind.state.book.leaders["L", "ES"].working["o1"].leaves == 2
    blind.play(blind.told(blind.fill("x2", "sell", 1)))
    assert [signal.is_fill for signal in blind.taken] == [True, False]
    blind = resting(known=1)
    blind.play(blind.told(blind.fill("x1", "sell", 3)), UNREAD_S + 1)
    assert [signal.is_fill for signal in blind.taken] == [False]


@pytest.mark.parametrize("filled", [0, 1, 2])
def test_whatever_the_copies_had_filled_the_follower_ends_flat(filled: int) -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o1")
    copy = world.child()
    world.accept(copy)
    if filled:
        world.fill(copy, d(filled))
    blind = Blind(0)
    blind.state.book = world.book
    blind.feed._take = lambda signal, _received_ns: blind.taken.append(signal)
    blind.play(blind.told(blind.fill("x1", "sell", 2)), UNREAD_S + 1)
    (out,) = blind.taken
    world.say(
        out.action, side=out.side, quantity=out.quantity, contract=out.contract, is_fill=out.is_fill,
        leader_order_id=out.leader_order_id, leader_position=out.leader_position, source=out.source,
    )  # fmt: skip
    world.settle()
    assert (world.held(), world.open()) == (0, [])


def test_a_read_in_time_makes_everything_as_before() -> None:
    blind = Blind(2)
    sold = blind.fill("x1", "sell")
    blind.play(blind.told(sold), 5.0, lambda: blind.read(1, sold), UNREAD_S * 2)
    assert blind.taken == []
    assert [told.positions for told in blind.resets] == [(("ES", 1),)]
    blind.play(blind.told(blind.fill("x2", "sell")))
    assert blind.acts == [("exit", 0)]


def test_a_later_first_read_and_its_list_name_the_same_signal_again() -> None:
    """The intake knows it by its id: it is not followed twice, also where the read began before the fill."""
    blind = Blind(1)
    sold = blind.fill("x1", "sell")
    blind.play(blind.told(sold), UNREAD_S + 1, lambda: blind.read(1))
    assert blind.acts == [("exit", 0)]
    blind.read(0, sold)
    assert len({signal.signal_id for signal in blind.taken}) == 1
    blind.play(blind.told(blind.fill("x2", "buy")))
    assert blind.acts[-1] == ("enter", 1)


def test_what_waits_for_the_database_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fills while nothing can be written: the second one is counted from the first."""
    blind = Blind(2)
    monkeypatch.setattr(LeaderFeed, "waiting", property(lambda _feed: tuple(blind.taken)))

    def wait(signal: Signal, _received_ns: int) -> None:
        blind.taken.append(signal)

    blind.feed._take = wait
    blind.play(blind.told(blind.fill("x1", "sell"), blind.fill("x2", "sell")), UNREAD_S + 1)
    assert blind.acts == [("reduce", 1), ("exit", 0)]


def test_a_leader_that_is_switched_off_is_followed_no_more() -> None:
    blind = Blind(1)
    blind.play(blind.told(blind.fill("x1", "sell")))
    blind.state.config = GatewayConfig(1, {}, {}, {}, {})
    blind.play(blind.feed.configure, UNREAD_S + 1)
    assert blind.taken == []


def test_only_so_many_fills_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_unread, "FILLS_MAX", 2)
    blind = Blind(9)
    blind.play(blind.told(*(blind.fill(f"x{n}", "sell") for n in range(4))), UNREAD_S + 1)
    assert [s.leader_order_id for s in blind.taken] == ["ox2", "ox3"]


def test_our_own_orders_at_the_account_are_neither_told_of_nor_followed() -> None:
    blind = Blind(1)
    sold = blind.fill("x1", "sell")
    blind.state.book.by_order_id["boss", sold.order_id] = "ours"
    blind.play(blind.told(sold), UNREAD_S + 1)
    assert (blind.alerts, blind.taken) == ([], [])
