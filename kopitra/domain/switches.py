"""Kill switches: the most restrictive state among the scopes that cover an account is the one that counts (R-091)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

#: reducing: exits, cancels and queries only; halted: cancels, flatten and queries only
SwitchState = Literal["active", "reducing", "halted"]
SwitchScope = Literal["global", "workspace", "leader", "broker", "account"]


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """One switch. `scope_id` is the id of the workspace, leader, broker or account; "" for global.

    A broker inside one workspace is named by `broker_in`, so that no workspace stops its neighbours. What stands under
    one name is lifted under that name only: an account is held by each switch that covers it, whoever set it.
    """

    scope: SwitchScope
    scope_id: str
    state: SwitchState
    reason: str = ""
    who: str = ""
    #: grows with every change of this switch; an older change never overwrites a newer one
    epoch: int = 0
    #: reducing for now: somebody lifted it, and it becomes active once its accounts were compared (R-098)
    lifting: bool = False


@dataclass(frozen=True, slots=True)
class Covered:
    """The names under which an account's order can be stopped."""

    workspace: str
    leader: str
    broker: str
    account_id: str

    def scopes(self) -> tuple[tuple[SwitchScope, str], ...]:
        """(scope, id) pairs, widest first."""
        return (
            ("global", ""),
            ("workspace", self.workspace),
            ("leader", self.leader),
            ("broker", self.broker),
            ("broker", broker_in(self.workspace, self.broker)),
            ("account", self.account_id),
        )


def broker_in(workspace: str, broker: str) -> str:
    """The name of a broker's switch inside one workspace."""
    return f"{workspace}/{broker}"


def broker_of(scope_id: str) -> tuple[str, str]:
    """Workspace ("" for all of them) and broker of a broker's switch."""
    workspace, _, broker = scope_id.rpartition("/")
    return workspace, broker


_STRICTNESS: Final[dict[SwitchState, int]] = {"active": 0, "reducing": 2, "halted": 3}


def strictness(switch: KillSwitch | None) -> int:
    """How much a switch stops: active, then reducing that ends by itself, reducing, halted."""
    if switch is None:
        return 0
    return 1 if switch.lifting and switch.state == "reducing" else _STRICTNESS[switch.state]


def agreed(ours: KillSwitch, theirs: KillSwitch) -> KillSwitch:
    """Two changes of one switch that did not know of each other: the stricter stands, as the newest of both."""
    if strictness(theirs) < strictness(ours):
        return ours if ours.epoch > theirs.epoch else replace(ours, epoch=theirs.epoch + 1)
    return theirs if theirs.epoch >= ours.epoch else replace(theirs, epoch=ours.epoch + 1)


def worst(states: Iterable[SwitchState]) -> SwitchState:
    """The most restrictive of the states; active when there is none."""
    present = set(states)
    if "halted" in present:
        return "halted"
    return "reducing" if "reducing" in present else "active"


class SwitchBoard:
    """All switches by (scope, id). Reading it for one account is six dictionary look-ups, none when all are open."""

    __slots__ = ("_switches", "changes")

    def __init__(self) -> None:
        self._switches: dict[tuple[SwitchScope, str], KillSwitch] = {}
        #: grows with every change, for those who remember what they derived
        self.changes = 0

    def set(self, switch: KillSwitch) -> bool:
        """Take a change unless a newer one is known, or one as new and as strict; True when it was taken."""
        key = (switch.scope, switch.scope_id)
        known = self._switches.get(key)
        if known is not None and (known.epoch, strictness(known)) >= (switch.epoch, strictness(switch)):
            return False
        self._switches[key] = switch
        self.changes += 1
        return True

    def effective(self, covered: Covered) -> SwitchState:
        """The state that counts for this account and leader."""
        switches = self._switches
        if not switches:
            return "active"
        found: list[SwitchState] = [switches[key].state for key in covered.scopes() if key in switches]
        return worst(found)

    def all(self) -> tuple[KillSwitch, ...]:
        """Every switch that was ever set."""
        return tuple(self._switches.values())

    def get(self, scope: SwitchScope, scope_id: str) -> KillSwitch | None:
        """One switch, None when it was never set."""
        return self._switches.get((scope, scope_id))

    def state(self, scope: SwitchScope, scope_id: str) -> SwitchState:
        """What one switch says, active when it was never set."""
        known = self._switches.get((scope, scope_id))
        return known.state if known is not None else "active"

    def is_at_least(self, scope: SwitchScope, scope_id: str, state: SwitchState) -> bool:
        """One switch stops as much as this state already, and does not end by itself."""
        return strictness(self.get(scope, scope_id)) >= _STRICTNESS[state]

    def epoch(self, scope: SwitchScope, scope_id: str) -> int:
        """The epoch of one switch, 0 when it was never set."""
        known = self._switches.get((scope, scope_id))
        return known.epoch if known is not None else 0
