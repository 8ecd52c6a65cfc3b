"""How each account is served: its broker's answer time, its queue, deadlines missed, its breaker (R-052, R-055).

Numbers that the event loop alone writes and people and scrapes read; keeping them costs an order a few additions.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from brokers._kit.breaker import BreakerState
from gateway_container.engine.admission import LoginForecast, forecasts
from gateway_container.engine.breakers import Breakers
from gateway_container.engine.fanout import Fanout
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.orders import ChildOrder

#: share of the newest answer in the moving service time: one of so many
WEIGHT: Final = 8
#: seconds between two looks at the loop's lateness, and how many are remembered (a minute)
LAG_EVERY_S: Final = 0.25
LAGS_MAX: Final = 240


class AccountPulse(NamedTuple):
    """One account as people see it."""

    account_id: str
    breaker: BreakerState
    #: orders that wait for their write
    queued: int
    #: entries that were not written in time since the start
    deadline_misses: int
    #: microseconds from the write to the broker's first answer, moving mean; None before the first
    service_us: int | None
    #: exits that nobody takes now
    pending_exits: int


#: of an account that another process serves
UNKNOWN_PULSE: Final = AccountPulse("", "closed", 0, 0, None, 0)


class Pulses:
    """Service times by account; bounded by the accounts."""

    def __init__(self) -> None:
        self._service_us: dict[str, int] = {}

    def answered(self, order: ChildOrder) -> None:
        """The broker's first answer to an order; its hop times are set."""
        hops = order.hops
        took_us = hops.get("acked", 0) - hops.get("sent", 0)
        account_id = order.intent.account_id
        mean_us = self._service_us.get(account_id)
        self._service_us[account_id] = took_us if mean_us is None else mean_us + (took_us - mean_us) // WEIGHT

    def service_us(self, account_id: str) -> int | None:
        """None before the first answer."""
        return self._service_us.get(account_id)


class Health:
    """What an operator may know of accounts, logins and the loop. `run` watches the loop and lends the gauges."""

    def __init__(
        self,
        state: State,
        fanout: Fanout,
        sessions: Sessions,
        pulses: Pulses,
        ahead_ms: dict[str, int],
        registry: CollectorRegistry,
    ) -> None:
        self._state = state
        self._fanout = fanout
        self._sessions = sessions
        self._pulses = pulses
        #: milliseconds we are ahead, by whose clock
        self.ahead_ms = ahead_ms
        self._registry = registry
        self._lags_s: deque[float] = deque(maxlen=LAGS_MAX)

    @property
    def loop_lag_ms(self) -> int:
        """The worst lateness of the event loop within a minute."""
        return round(max(self._lags_s, default=0.0) * 1000)

    async def run(self) -> None:
        """Until cancelled."""
        gauges = AccountGauges(self)
        self._registry.register(gauges)
        loop = asyncio.get_running_loop()
        try:
            while True:
                due = loop.time() + LAG_EVERY_S
                await asyncio.sleep(LAG_EVERY_S)
                self._lags_s.append(max(0.0, loop.time() - due))
        finally:
            self._registry.unregister(gauges)

    def account(self, account_id: str) -> AccountPulse:
        """One account."""
        breakers: Breakers = self._fanout.look.breakers
        return AccountPulse(
            account_id,
            breakers.state(account_id),
            self._fanout.queued(account_id),
            self._fanout.missed.get(account_id, 0),
            self._pulses.service_us(account_id),
            sum(1 for key in self._state.book.pending_exits if key.account_id == account_id),
        )

    def accounts(self) -> list[AccountPulse]:
        """All accounts."""
        return [self.account(account_id) for account_id in self._state.config.accounts]

    def forecasts(self, workspace: str) -> list[LoginForecast]:
        """What the leaders' signals cost, before anything is sent."""
        return forecasts(self._state.config, self._sessions, self._state.bracket_brokers, workspace)


class AccountGauges(Collector):
    """The same for a scrape; one label, bounded by the accounts."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: two engines of one process may follow each other."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """For a scrape."""
        accounts = self._health.accounts()
        yield _gauge("queue_depth", "Orders that wait.", accounts, lambda a: a.queued)
        yield _gauge("breaker_open", "1 while entries stop.", accounts, lambda a: int(a.breaker != "closed"))
        yield _gauge("service_seconds", "Mean answer time.", accounts, lambda a: (a.service_us or 0) / 1e6)
        yield _gauge("pending_exits", "Exits nobody takes now.", accounts, lambda a: a.pending_exits)
        misses = CounterMetricFamily(
            "kopitra_account_deadline_misses", "Entries not written in time.", labels=["account"]
        )
        for account in accounts:
            misses.add_metric([account.account_id], account.deadline_misses)
        yield misses
        clocks = GaugeMetricFamily(
            "kopitra_clock_ahead_ms", "How far we are ahead of a clock.", labels=["clock"]
        )
        for whose, ahead_ms in self._health.ahead_ms.items():
            clocks.add_metric([whose], ahead_ms)
        yield clocks


def _gauge(
    name: str, title: str, accounts: list[AccountPulse], value: Callable[[AccountPulse], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"kopitra_account_{name}", title, labels=["account"])
    for account in accounts:
        family.add_metric([account.account_id], value(account))
    return family
