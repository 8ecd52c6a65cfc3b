"""What operators do about drift, in the wire's words."""

from typing import Final

from gateway_container.engine.comparison import Comparison
from gateway_container.engine.fanout import Fanout
from gateway_container.engine.log import Log
from gateway_container.engine.reach import accounts_in
from gateway_container.engine.reconcile import Reconciler
from gateway_container.engine.repairs import Asked, Repairs
from gateway_container.engine.reports import Reports
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.errors import Refusal
from kopitra.domain.flattening import is_flattening
from kopitra.domain.repairing import Wish
from kopitra.telemetry import Metrics
from kopitra.wire.repairs import RepairBody, RepairView, repair_view

#: accounts of one preview: each is read
ACCOUNTS_MAX: Final = 500


class FlattenUnderWay(Refusal):
    """The block belongs to a flatten, which lifts it itself when all is flat; a failed one may be lifted."""

    code = "flatten-under-way"


class TooManyAccounts(Refusal):
    """A preview reads every account it is about."""

    code = "too-many-accounts"


class RepairDesk:
    """Behind the doors."""

    def __init__(self, state: State, repairs: Repairs) -> None:
        self._state = state
        self.repairs = repairs

    async def preview(self, workspace: str, body: RepairBody, accounts: frozenset[str] | None) -> RepairView:
        """Read and plan; nothing is sent. `accounts` None: all that follow somebody."""
        chosen = accounts_in(self._state.config, workspace, "workspace", workspace)
        chosen = chosen if accounts is None else chosen & accounts
        following = sorted(a for a in chosen if self.repairs.rules_of(a))
        if len(following) > ACCOUNTS_MAX:
            raise TooManyAccounts(f"{len(following)} accounts are more than {ACCOUNTS_MAX}: name fewer.")
        wish = Wish(body.policy, body.include_closed_by_hand)
        plan = await self.repairs.preview(Asked(workspace, tuple(following), body.leader or "", wish))
        return repair_view(plan, applied=False)

    async def apply(
        self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None
    ) -> RepairView:
        """Carry a previewed plan out. Raises NoSuchRepair, RepairChanged, Unavailable."""
        done = await self.repairs.apply(workspace, plan_id, who, accounts)
        return repair_view(done.plan, done.applied)

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        """Let entries go on. Raises FlattenUnderWay."""
        if not symbol and is_flattening(self._state.book.flattens, account_id):
            raise FlattenUnderWay("A flatten is under way: wait until it is flat, or has failed.")
        self.repairs.lift(workspace, account_id, symbol, who)


def watch_drift(
    state: State,
    log: Log,
    sessions: Sessions,
    fanout: Fanout,
    reports: Reports,
    reconciler: Reconciler,
    metrics: Metrics,
) -> tuple[Comparison, RepairDesk]:
    """Wire what compares accounts with what repairs them, and with what tells them of snapshots and foreign fills."""
    repairs = Repairs(state, log, fanout, reports.alert, metrics)
    comparison = Comparison(state, log, sessions, repairs, reports.alert, metrics)
    repairs.attach(comparison.look)
    comparison.attach(reconciler.look, reports.follow)
    reconciler.judge, reports.on_foreign = comparison.judge, comparison.foreign
    return comparison, RepairDesk(state, repairs)
