"""After a take-over each broker is first read when its lists show what the predecessor sent last (I-01)."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest

from gateway_container.engine.config import AccountConfig, GatewayConfig, LoginConfig
from gateway_container.engine.sessions import RELEASE_S, Sessions
from gateway_container.engine.state import State
from kopitra.ports import BrokerAdapter, BrokerSession, Capabilities, Clock, LoginPlan, SessionEvent
from tests.faults.virtual_loop import VirtualClock, VirtualLoop

#: milliseconds that the lists of these brokers lag
LAGS_MS = {"slow": 3_000, "quick": 500, "prompt": 0}


def offers(lag_ms: int) -> Capabilities:
    """A broker whose lists lag."""
    return Capabilities(
        ord_types=frozenset(), times_in_force=frozenset(), replace="none", brackets=False, dedups_cl_ord_id=False,
        cl_ord_id_length_max=32, netting=True, closes_position=False, reports="stream", quotes=False,
        lists_executions=True, lists_lag_ms_max=lag_ms,
    )  # fmt: skip


@dataclass
class Login:
    """A session that says when it first spoke to its broker."""

    spoke_s: list[float]
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        self.spoke_s.append(asyncio.get_running_loop().time())
        await self.closing.wait()

    async def close(self, *, drain_s: float) -> None:
        await asyncio.sleep(drain_s)
        self.closing.set()

    def keep(self, kept: Callable[[], int]) -> None:
        del kept


@dataclass
class Broker:
    """Opens such sessions."""

    capabilities: Capabilities
    plans: list[LoginPlan] = field(default_factory=list[LoginPlan])
    #: login -> loop times at which its sessions spoke
    spoke_s: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def open_session(
        self, plan: LoginPlan, sink: Callable[[SessionEvent], None], clock: Clock
    ) -> BrokerSession:
        del sink, clock
        self.plans.append(plan)
        return cast(BrokerSession, Login(self.spoke_s.setdefault(plan.login_id, [])))


def config(logins: dict[str, str], version: int = 1) -> GatewayConfig:
    """Login -> its broker; one account each."""
    return GatewayConfig(
        version,
        {f"a-{n}": AccountConfig(f"a-{n}", "w", n, broker, n, f"SIM{n}") for n, broker in logins.items()},
        {},
        {n: LoginConfig(n, "w", broker, {}, {}) for n, broker in logins.items()},
        {},
    )


@dataclass
class House:
    """Three brokers on a loop in virtual time."""

    loop: VirtualLoop = field(default_factory=VirtualLoop)
    brokers: dict[str, Broker] = field(
        default_factory=lambda: {code: Broker(offers(lag_ms)) for code, lag_ms in LAGS_MS.items()}
    )

    def __post_init__(self) -> None:
        state = State(VirtualClock(self.loop, datetime(2026, 11, 20, tzinfo=UTC)))
        self.sessions = Sessions(state, cast(dict[str, BrokerAdapter], self.brokers), lambda _event: None)

    def play(self, scene: Coroutine[object, object, None]) -> None:
        """Run a scene to its end; nothing is left running."""

        async def whole() -> None:
            try:
                await scene
            finally:
                await self.sessions.close(0)

        try:
            self.loop.run_until_complete(whole())
        finally:
            self.loop.close()

    def spoke(self) -> dict[str, list[float]]:
        """When each login spoke."""
        return {n: times for broker in self.brokers.values() for n, times in broker.spoke_s.items() if times}


ONE_EACH = {"l1": "slow", "l2": "quick", "l3": "prompt"}


def test_a_start_that_took_nothing_over_reads_every_broker_at_once() -> None:
    house = House()

    async def scene() -> None:
        await house.sessions.apply(config(ONE_EACH))
        await asyncio.sleep(10)

    house.play(scene())
    assert house.spoke() == {"l1": [0], "l2": [0], "l3": [0]}


@pytest.mark.parametrize(
    "margin_s, first_s",
    [(0.0, {"l1": [3.0], "l2": [0.5], "l3": [0]}), (2.0, {"l1": [1.0], "l2": [0], "l3": [0]})],
)
def test_i01_each_broker_waits_out_its_own_lag_less_what_has_passed_since_the_last_write(
    margin_s: float, first_s: dict[str, list[float]]
) -> None:
    """I-01: `margin_s` before the take-over the predecessor wrote for the last time, so so much of the lag is over."""
    house = House()

    async def scene() -> None:
        house.sessions.take_over(margin_s)
        await house.sessions.apply(config(ONE_EACH))
        await asyncio.sleep(10)

    house.play(scene())
    assert house.spoke() == first_s


def test_i01_a_login_that_is_opened_meanwhile_waits_for_the_rest_and_a_later_one_for_nothing() -> None:
    house = House()

    async def scene() -> None:
        house.sessions.take_over(0.0)
        await asyncio.sleep(1)
        await house.sessions.apply(config({"early": "slow"}))
        await asyncio.sleep(6)
        await house.sessions.apply(config({"early": "slow", "late": "slow"}, 2))
        await asyncio.sleep(1)

    house.play(scene())
    assert house.spoke() == {"early": [3.0], "late": [7.0]}


def test_a_session_that_is_closed_while_it_waits_never_speaks() -> None:
    """R-058: a replica that lost its shard meanwhile must not log in any more."""
    house = House()

    async def scene() -> None:
        house.sessions.take_over(0.0)
        await house.sessions.apply(config({"l1": "slow"}))
        await asyncio.sleep(0.5)
        before_s = house.loop.time()
        await house.sessions.close(0)
        assert house.loop.time() - before_s <= RELEASE_S
        await asyncio.sleep(10)

    house.play(scene())
    assert house.spoke() == {}


def test_r058_what_is_configured_while_everything_closes_is_not_opened_any_more() -> None:
    """R-083: the shard was lost in the middle of a change; a login then would throw the successor's out."""
    house = House()

    async def scene() -> None:
        await house.sessions.apply(config({"l1": "prompt"}))
        falls = asyncio.create_task(house.sessions.close(1.0))
        await asyncio.sleep(0.5)
        await house.sessions.apply(config({"l1": "prompt", "l2": "quick"}, 2))
        await falls
        await house.sessions.close(0)
        assert not house.sessions.all

    house.play(scene())
    assert house.spoke() == {"l1": [0]}


def test_r058_a_change_that_waits_for_its_old_session_opens_no_new_one_once_all_close() -> None:
    house = House()

    async def scene() -> None:
        await house.sessions.apply(config({"l1": "prompt", "l2": "quick"}))
        change = asyncio.create_task(house.sessions.apply(config({"l1": "quick", "l2": "slow"}, 2)))
        await asyncio.sleep(0.5)
        await house.sessions.close(0)
        await change
        assert not house.sessions.all

    house.play(scene())
    assert house.spoke() == {"l1": [0], "l2": [0]}


def test_r059_a_login_is_told_when_its_accounts_sent_requests_before_this_process() -> None:
    house = House()

    async def scene() -> None:
        house.sessions.spent_ns = {"a-l1": [30, 10], "a-l2": [20]}
        await house.sessions.apply(config({"l1": "slow", "l3": "prompt"}))

    house.play(scene())
    assert [plan.spent_ns for plan in house.brokers["slow"].plans] == [(10, 30)]
    assert [plan.spent_ns for plan in house.brokers["prompt"].plans] == [()]
