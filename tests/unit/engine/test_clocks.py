"""R-070, R-068: whose clock says what."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from gateway_container.engine.clocks import Clocks
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.senders import SENDERS_MAX, Senders
from gateway_container.engine.state import State
from kopitra.domain.errors import Unavailable
from kopitra.ports import BrokerTime

START = datetime(2026, 11, 20, 15, tzinfo=UTC)
MINUTES_10 = 600_000


class HandClock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def now(self) -> datetime:
        return START + timedelta(microseconds=self.now_ns // 1000)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait_ms(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * 1_000_000


class Room:
    """Clocks over two brokers, and what people were told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.state = State(self.clock)
        logins = {b: LoginConfig(b, "w", b, {}, {}) for b in ("right", "wrong")}
        accounts = {f"at-{b}": AccountConfig(f"at-{b}", "w", "", b, b, "x") for b in logins}
        leaders = {f"of-{b}": LeaderConfig(f"of-{b}", "w", "", f"at-{b}") for b in logins}
        leaders["ea"] = LeaderConfig("ea", "w", "")
        self.state.config = GatewayConfig(1, accounts, leaders, logins, {})
        self.told: list[str] = []
        self.ahead_ms = 0
        self.took_ms = 0
        self.clocks = Clocks(self.state, self._ask(), lambda _code, text, _account: self.told.append(text))

    def _ask(self) -> Callable[[], Awaitable[datetime]]:
        async def ask() -> datetime:
            theirs = self.clock.now() - timedelta(milliseconds=self.ahead_ms - self.took_ms / 2)
            self.clock.wait_ms(self.took_ms)
            return theirs

        return ask

    def hear(self, broker: str, ahead_ms: int, times: int = 1) -> None:
        """An answer whose date is exact to the second; ours is `ahead_ms` ahead."""
        for _ in range(times):
            now = self.clock.now()
            at = (now - timedelta(milliseconds=ahead_ms)).replace(microsecond=0)
            self.clocks.heard(BrokerTime(broker, at, now, 1_000))

    def is_off(self, leader: str) -> bool:
        return self.state.plan_inputs(leader, (), self.clock.now()).clock_off


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize(
    "ahead_ms, told, stops",
    [
        (0, 0, False),
        (500, 0, False),
        (-501, 1, False),
        (2_000, 1, False),
        (2_001, 1, True),
        (-2_001, 1, True),
    ],
)
async def test_r070_half_a_second_warns_and_two_seconds_stop_entries(
    room: Room, ahead_ms: int, told: int, stops: bool
) -> None:
    room.ahead_ms = ahead_ms
    for _ in range(3):  # people hear of it once
        await room.clocks.sample()
    assert len(room.told) == told
    assert room.is_off("ea") is stops


async def test_r070_entries_go_on_once_the_clock_is_right_again(room: Room) -> None:
    room.ahead_ms = 3_000
    await room.clocks.sample()
    room.ahead_ms = 0
    await room.clocks.sample()
    assert not room.is_off("ea")


async def test_r070_a_slow_answer_and_a_database_that_is_away_say_nothing(room: Room) -> None:
    room.ahead_ms, room.took_ms = 3_000, 401
    await room.clocks.sample()
    assert not room.is_off("ea")

    async def away() -> datetime:
        raise Unavailable("away")

    await Clocks(room.state, away, lambda _c, text, _a: room.told.append(text)).sample()
    assert not room.told


async def test_r070_half_of_the_round_trip_is_the_way_back(room: Room) -> None:
    room.ahead_ms, room.took_ms = 100, 300
    await room.clocks.sample()
    assert abs(room.clocks.ahead_ms["the database"] - 100) <= 1


@pytest.mark.parametrize("ahead_ms", [MINUTES_10, -MINUTES_10])
def test_r070_a_broker_ten_minutes_off_stops_only_what_its_clock_dates(room: Room, ahead_ms: int) -> None:
    room.hear("wrong", ahead_ms, times=4)
    room.hear("right", 0, times=4)
    assert [room.is_off(leader) for leader in ("of-wrong", "of-right", "ea")] == [True, False, False]
    assert len(room.told) == 1
    assert "wrong" in room.told[0]


def test_r070_one_late_answer_is_no_wrong_clock(room: Room) -> None:
    room.hear("wrong", 0, times=2)
    room.hear("wrong", 9_000)
    assert not room.is_off("of-wrong")
    assert not room.told


def test_r070_a_date_in_whole_seconds_is_no_difference(room: Room) -> None:
    for _ in range(30):
        room.clock.wait_ms(37)
        room.hear("right", 0)
    assert not room.told


def test_r068_a_sender_is_as_far_ahead_as_its_furthest_signal_within_the_tolerance() -> None:
    senders = Senders()
    assert senders.ahead_ms("lead") == 0
    for ms in (300, 1_500, 900):
        senders.from_the_future("lead", timedelta(milliseconds=ms))
    assert senders.ahead_ms("lead") == 1_500
    senders.from_the_future("lead", timedelta(minutes=10))  # refused, and no measure of a clock
    assert senders.ahead_ms("lead") == 1_500


def test_i24_senders_are_bounded() -> None:
    senders = Senders()
    for number in range(SENDERS_MAX + 5):
        senders.from_the_future(f"s{number}", timedelta(seconds=1))
    assert senders.ahead_ms("s0") == 0
    assert senders.ahead_ms(f"s{SENDERS_MAX + 4}") == 1_000
