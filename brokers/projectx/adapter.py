"""The ProjectX Gateway API (TopstepX and other firms) as a broker of this house."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Final

from brokers._kit.budget import Budget, BudgetPolicy, Window
from brokers._kit.rest import RestClient, RestSettings
from brokers._kit.tokens import TokenHolder
from brokers.projectx.api import Api
from brokers.projectx.auth import Authenticator
from brokers.projectx.codec import ORD_TYPES, TAG_LENGTH_MAX, TIMES_IN_FORCE
from brokers.projectx.session import ProjectXSession
from brokers.projectx.settings import Settings
from kopitra.domain.errors import Disconnected
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

_CAPABILITIES: Final = Capabilities(
    ord_types=ORD_TYPES,
    times_in_force=TIMES_IN_FORCE,
    replace="amend",
    # Off on purpose: brackets depend on a platform setting of the account that the API does not show.
    brackets=False,
    dedups_cl_ord_id=True,
    cl_ord_id_length_max=TAG_LENGTH_MAX,
    netting=True,
    closes_position=False,
    reports="stream_and_poll",
    quotes=True,
    lists_executions=True,
    lists_finished_orders=True,
    proves_absence=True,
    lists_lag_ms_max=1_000,
    dedups_for_ever=True,
)


_DEFAULTS: Final = Settings()


def _schema() -> Mapping[str, object]:
    properties: dict[str, object] = {
        spec.name: {"type": "string", "default": str(getattr(_DEFAULTS, spec.name)).lower()}
        for spec in fields(Settings)
    }
    properties |= {
        "user_name": {"type": "string", "title": "User name", "minLength": 1},
        "api_key": {"type": "string", "title": "API key", "minLength": 1, "format": "password"},
    }
    return {
        "type": "object",
        "required": ["user_name", "api_key"],
        "additionalProperties": False,
        "properties": properties,
    }


@dataclass(frozen=True, slots=True)
class ProjectX:
    """See `kopitra.ports.BrokerAdapter`."""

    code: str = "projectx"
    title: str = "ProjectX (TopstepX)"
    capabilities: Capabilities = _CAPABILITIES

    @property
    def credential_schema(self) -> Mapping[str, object]:
        """Two secrets and the settings of `settings.py`."""
        return _schema()

    def open_session(self, login: LoginPlan, sink: EventSink, clock: Clock) -> BrokerSession:
        """ValueError for a setting that does not parse; KeyError for a missing credential."""
        return ProjectXSession(login, sink, clock)

    async def list_accounts(self, login: LoginPlan, clock: Clock) -> tuple[BrokerAccount, ...]:
        """Raises LoginRefused, or another SessionError that may be tried again."""
        settings = Settings.parse(login.settings)
        budget = Budget(BudgetPolicy((Window(settings.budget_per_window, settings.budget_window_s),)))
        rest = RestClient(
            settings.api_url,
            settings=RestSettings(timeout_s=settings.request_timeout_s),
        )
        async with rest:
            auth = Authenticator(rest, login.credentials, clock)
            tokens = TokenHolder(auth.fetch, clock_ns=clock.monotonic_ns, rng=Random(login.login_id))
            rows = await Api(rest, tokens, settings, budget, clock).accounts()
            await auth.log_out(await tokens.get())
        if rows is None:
            raise Disconnected("the account list is missing from the answer; ask again")
        return tuple(
            BrokerAccount(row.name or str(row.id), row.name, row.balance, row.can_trade is not False)
            for row in rows
        )

    async def start_simulator(
        self, *, host: str, port: int, logins: Mapping[str, Sequence[SimAccount]], seed: int
    ) -> RunningSimulator:
        """The simulated firm of `simulator/`; see SIMULATOR.md."""
        from brokers.projectx.simulator import Simulator  # a process that trades does not load it

        simulator = Simulator(logins, seed)
        await simulator.start(host, port)
        return simulator
