"""Toy Town: the smallest broker there can be. It proves that a broker is one folder and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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

from .session import ToySession
from .simulator import ToySimulator

_CAPABILITIES = Capabilities(
    ord_types=frozenset({"market"}),
    times_in_force=frozenset({"day"}),
    replace="none",
    brackets=False,
    dedups_cl_ord_id=False,
    cl_ord_id_length_max=64,
    netting=True,
    closes_position=False,
    reports="stream",
    quotes=False,
    lists_executions=False,
)


def _credential_schema() -> Mapping[str, object]:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {"host": text, "port": text, "password": text},
        "required": ["host", "port", "password"],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class ToyTown:
    """The adapter."""

    code: str = "toytown"
    title: str = "Toy Town"
    capabilities: Capabilities = _CAPABILITIES
    credential_schema: Mapping[str, object] = field(default_factory=_credential_schema)

    def open_session(self, login: LoginPlan, sink: EventSink, clock: Clock) -> BrokerSession:
        return ToySession(login, sink, clock)

    async def list_accounts(self, login: LoginPlan, clock: Clock) -> tuple[BrokerAccount, ...]:
        return tuple(
            BrokerAccount(link.broker_account, link.broker_account, balance=None, tradable=True)
            for link in login.accounts
        )

    async def start_simulator(
        self, *, host: str, port: int, logins: Mapping[str, Sequence[SimAccount]], seed: int
    ) -> RunningSimulator:
        return await ToySimulator.start(host, port, logins)


ADAPTER = ToyTown()
