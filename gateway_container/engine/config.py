"""The configuration the hot path needs, in memory, replaced as a whole when its version moves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.limits import RiskLimits
from kopitra.domain.measuring import NewStart
from kopitra.domain.prop_limits import PropLimits

NO_RULES: Final[tuple[CopyRule, ...]] = ()


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """One account at a broker. `version` grows with every change; it is written into risk decisions."""

    account_id: str
    workspace: str
    title: str
    broker: str
    login_id: str
    broker_account: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: RiskLimits = RiskLimits()
    version: int = 1
    active: bool = True
    #: versions of its loss limits; none: it has none
    prop: tuple[PropLimits, ...] = ()
    #: the newest request to measure its losses anew
    new_start: NewStart | None = None
    #: its orders end on paper (shadow.py)
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class LeaderConfig:
    """A leader. `account_id` names the account whose own fills are its signals (None: signals come from outside)."""

    leader_id: str
    workspace: str
    title: str
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class LoginConfig:
    """One login at one broker; credentials are opened when its session starts and kept nowhere else."""

    login_id: str
    workspace: str
    broker: str
    settings: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything by id. Rules are the current versions, grouped by leader."""

    version: int
    accounts: Mapping[str, AccountConfig]
    leaders: Mapping[str, LeaderConfig]
    logins: Mapping[str, LoginConfig]
    rules: Mapping[str, tuple[CopyRule, ...]]

    def rules_for(self, leader: str) -> tuple[CopyRule, ...]:
        """The current rules of a leader's followers."""
        return self.rules.get(leader, NO_RULES)


EMPTY: Final = GatewayConfig(0, {}, {}, {}, {})
