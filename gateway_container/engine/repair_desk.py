"""What operators do about drift, in the wire's words."""

from collections.abc import Callable
from typing import Final

from gateway_container.engine.flatten import BLOCKED as FLATTENING
from gateway_container.engine.repairs import Asked, Repairs
from gateway_container.engine.state import State
from kopitra.domain.errors import Refusal
from kopitra.domain.repairing import Wish
from kopitra.wire.repairs import RepairBody, RepairView, repair_view

#: accounts of one preview: each is read
ACCOUNTS_MAX: Final = 500


class FlattenUnderWay(Refusal):
    """The block belongs to a flatten, which lifts it itself."""

    code = "flatten-under-way"


class TooManyAccounts(Refusal):
    """A preview reads every account it is about."""

    code = "too-many-accounts"


class RepairDesk:
    """Behind the doors."""

    def __init__(self, state: State, repairs: Repairs, accounts_in: Callable[[str], frozenset[str]]) -> None:
        self._state = state
        self._repairs = repairs
        #: the accounts of a workspace
        self._accounts_in = accounts_in

    async def preview(self, workspace: str, body: RepairBody, accounts: frozenset[str] | None) -> RepairView:
        """Read and plan; nothing is sent. `accounts` None: all that follow somebody."""
        chosen = self._accounts_in(workspace)
        chosen = chosen if accounts is None else chosen & accounts
        following = sorted(a for a in chosen if self._repairs.rules_of(a))
        if len(following) > ACCOUNTS_MAX:
            raise TooManyAccounts(f"{len(following)} accounts are more than {ACCOUNTS_MAX}: name fewer.")
        wish = Wish(body.policy, body.include_closed_by_hand)
        plan = await self._repairs.preview(Asked(workspace, tuple(following), body.leader or "", wish))
        return repair_view(plan, applied=False)

    async def apply(
        self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None
    ) -> RepairView:
        """Carry a previewed plan out. Raises NoSuchRepair, RepairChanged, Unavailable."""
        done = await self._repairs.apply(workspace, plan_id, who, accounts)
        return repair_view(done.plan, done.applied)

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        """Let entries go on. Raises FlattenUnderWay."""
        if not symbol and self._state.book.blocked.get(account_id) == FLATTENING:
            raise FlattenUnderWay("A flatten is under way; it lifts this block itself when it is done.")
        self._repairs.lift(workspace, account_id, symbol, who)
