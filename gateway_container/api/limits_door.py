"""What the doors need of the loss limits; `Doors.limits` is filled by who holds the accounts."""

from typing import Protocol

from kopitra.domain.errors import Unavailable
from kopitra.domain.measuring import NewStart
from kopitra.wire.limits import LimitsView


class LimitsDoor(Protocol):
    """Accounts with loss limits."""

    def standing(self, workspace: str, accounts: frozenset[str] | None) -> list[LimitsView]:
        """All of a workspace, or those of these accounts."""
        ...

    def restart(self, account_id: str, asked: NewStart) -> LimitsView:
        """Measure anew, now or as soon as the equity is known. The caller has checked the account."""
        ...


class NoLimits:
    """A replica without the accounts sees no money: everything raises Unavailable."""

    def standing(self, workspace: str, accounts: frozenset[str] | None) -> list[LimitsView]:
        raise _elsewhere()

    def restart(self, account_id: str, asked: NewStart) -> LimitsView:
        raise _elsewhere()


def _elsewhere() -> Unavailable:
    return Unavailable("Another replica holds the accounts now: ask again in a moment.")
