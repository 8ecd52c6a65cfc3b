"""Tradovate: futures over one authorized WebSocket per login, REST beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Final
from urllib.parse import urlsplit

from brokers._kit.rest import RestClient
from brokers.tradovate.auth import Login
from brokers.tradovate.codec import CL_ORD_ID_LENGTH_MAX
from brokers.tradovate.gate import ConnectGate
from brokers.tradovate.listing import list_accounts
from brokers.tradovate.schema import SCHEMA
from brokers.tradovate.session import TradovateSession
from brokers.tradovate.settings import parse_settings
from kopitra.ports import (
    BrokerAccount,
    BrokerSession,
    Capabilities,
    Clock,
    EventSink,
    LoginPlan,
    RunningSimulator,
    SimAccount,
)

CAPABILITIES: Final = Capabilities(
    ord_types=frozenset({"market", "limit", "stop", "stop_limit", "trailing_stop"}),
    times_in_force=frozenset({"day", "gtc", "gtd", "ioc", "fok"}),
    replace="amend",
    brackets=True,
    dedups_cl_ord_id=False,
    cl_ord_id_length_max=CL_ORD_ID_LENGTH_MAX,
    netting=True,
    closes_position=True,
    reports="stream",
    quotes=True,
    lists_executions=True,
    lists_finished_orders=True,
    proves_absence=True,
    lists_lag_ms_max=1_000,
)


@dataclass(frozen=True, slots=True)
class TradovateAdapter:
    """The broker, as a value. `gates` keep the distance of connects per host."""

    code: str = "tradovate"
    title: str = "Tradovate"
    capabilities: Capabilities = CAPABILITIES
    credential_schema: Mapping[str, object] = field(default_factory=lambda: SCHEMA)
    gates: dict[str, ConnectGate] = field(default_factory=dict[str, ConnectGate])

    def open_session(self, login: LoginPlan, sink: EventSink, clock: Clock) -> BrokerSession:
        """A session that is not connected yet. Raises LoginRefused for settings that make no sense."""
        host = urlsplit(parse_settings(login.settings).base_url).netloc
        gate = self.gates.setdefault(host, ConnectGate())
        return TradovateSession(login, sink, clock, _rng(login), gate)

    async def list_accounts(self, login: LoginPlan, clock: Clock) -> tuple[BrokerAccount, ...]:
        """Log in and list; the token simply expires (the vendor has no logout)."""
        settings = parse_settings(login.settings)
        async with RestClient(settings.base_url, tls=settings.tls() or True) as rest:
            issued = await Login(login, settings, rest, clock, lambda _: None).fetch(None)
            return await list_accounts(rest, issued.value)

    async def start_simulator(
        self, *, host: str, port: int, logins: Mapping[str, Sequence[SimAccount]], seed: int
    ) -> RunningSimulator:
        """Serve the simulated vendor."""
        # Imported here: a gateway does not carry the simulator's server.
        from brokers.tradovate.simulator import Simulator
        from brokers.tradovate.simulator.clock import wall_ns

        simulator = Simulator(logins, wall_ns, seed)
        await simulator.start(host, port)
        return simulator


def _rng(login: LoginPlan) -> Random:
    # Jitter only: logins must differ from one another, not from run to run.
    return Random(blake2b(login.login_id.encode(), digest_size=8).digest())


ADAPTER: Final = TradovateAdapter()
