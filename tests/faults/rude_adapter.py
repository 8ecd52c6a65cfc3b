"""The adapter of a rude broker for one process, and what varies between the brokers of one world."""

from collections.abc import Mapping, Sequence

from kopitra.ports import (
    BrokerAccount,
    Capabilities,
    Clock,
    EventSink,
    LoginPlan,
    RunningSimulator,
    SimAccount,
)
from tests.faults.rude_broker import RudeBroker
from tests.faults.rude_bytes import ORD_TYPES, TIMES_IN_FORCE
from tests.faults.rude_manners import LAG_MAX_MS
from tests.faults.rude_session import RudeSession, Writer


def capabilities(*, brackets: bool, proves_absence: bool, dedups: bool) -> Capabilities:
    """What varies between the brokers of one world."""
    return Capabilities(
        ord_types=ORD_TYPES,
        times_in_force=TIMES_IN_FORCE,
        replace="amend",
        brackets=brackets,
        dedups_cl_ord_id=dedups,
        cl_ord_id_length_max=32,
        netting=True,
        closes_position=False,
        reports="stream",
        quotes=False,
        # What a stream lost cannot be learnt from a broker that lists no executions: none such is supported.
        lists_executions=True,
        lists_finished_orders=True,
        proves_absence=proves_absence,
        lists_lag_ms_max=LAG_MAX_MS,
    )


class RudeAdapter:
    """`kopitra.ports.BrokerAdapter` of one process for one rude broker."""

    def __init__(self, broker: RudeBroker, writer: Writer) -> None:
        self._broker = broker
        self._writer = writer

    @property
    def code(self) -> str:
        return self._broker.code

    @property
    def title(self) -> str:
        return self._broker.code

    @property
    def capabilities(self) -> Capabilities:
        return self._broker.capabilities

    @property
    def credential_schema(self) -> Mapping[str, object]:
        return {}

    def open_session(self, login: LoginPlan, sink: EventSink, clock: Clock) -> "RudeSession":
        return RudeSession(self._broker, login, sink, clock, self._writer)

    async def list_accounts(self, login: LoginPlan, clock: Clock) -> tuple[BrokerAccount, ...]:
        del login, clock
        raise NotImplementedError("the simulation has no account sync")

    async def start_simulator(
        self, *, host: str, port: int, logins: Mapping[str, Sequence[SimAccount]], seed: int
    ) -> RunningSimulator:
        del host, port, logins, seed
        raise NotImplementedError("the rude broker has no wire")
