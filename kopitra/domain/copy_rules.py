"""CopyRule: the agreement between a leader and one follower account. Versioned; the version goes into every intent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from typing import Final, Literal

from kopitra.domain.errors import KopitraError
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.rounding import RoundingPolicy

SizingMode = Literal["fixed", "multiplier", "equity_proportional", "percent_of_equity", "risk_from_stop"]
Mirror = Literal["orders", "fills"]
SideFilter = Literal["both", "long", "short"]
Pace = Literal["active", "close_only", "paused"]
#: what the gateway does about drift: reduce toward the target; open what was missed as well (within the rule's caps);
#: close the follower's whole copy; wait until the leader is out
RepairPolicy = Literal["reduce", "top_up", "flatten", "ignore_until_flat"]


ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large a copy is.

    fixed: `value` contracts while the leader is in, scaled down as the leader scales out.
    multiplier: `value` x the leader's contracts.
    equity_proportional: `value` x leader's contracts x follower equity / leader equity.
    percent_of_equity: notional of `value` percent of the follower's equity.
    risk_from_stop: `value` percent of the follower's equity is lost when the signal's stop is hit.
    """

    mode: SizingMode = "multiplier"
    value: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class MapEntry:
    """Leader's root -> follower's root; `ratio` follower contracts for one leader contract (before sizing)."""

    from_root: str
    to_root: str
    ratio: Decimal = ONE


@dataclass(frozen=True, slots=True)
class CopyRule:
    """leader -> follower account. Roots, not contracts, so that a rule survives a roll.

    `close_only`: entries are skipped, everything else goes on. `paused`: only exits of what we opened are followed.
    `include` empty means all roots. `max_position` and `max_order` are follower contracts; the copy is cut to them.
    `min_order`: smaller copies are skipped. `delay_ms` is waited before the write, at most 60,000.
    """

    rule_id: str
    version: int
    workspace: str
    leader: str
    account_id: str
    sizing: Sizing = Sizing()
    rounding: RoundingPolicy = RoundingPolicy()
    pace: Pace = "active"
    inverse: bool = False
    mirror: Mirror = "orders"
    symbol_map: tuple[MapEntry, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    side_filter: SideFilter = "both"
    strategies: tuple[str, ...] = ()
    copy_stop_loss: bool = True
    copy_take_profit: bool = True
    min_order: Decimal = Decimal(0)
    max_order: Decimal | None = None
    max_position: Decimal | None = None
    delay_ms: int = 0
    #: seconds; older entries are refused. The hard bound is 60 (R-068).
    max_age_s: Decimal = Decimal(3)
    #: ticks that a market entry may cost more than the leader's price; None: no guard (R-069)
    guard_ticks: int | None = None
    #: market entries leave as limits so many ticks through the best price; None: as market orders
    collar_ticks: int | None = None
    repair: RepairPolicy = "reduce"
    #: an entry that the broker proved never to have had is sent once more, while it is young enough and only where the
    #: broker refuses a second order of an id for ever (R-011)
    resend_entry_after_proof: bool = False
    #: derived from `symbol_map` once, so that a signal costs one look-up
    routes: Mapping[str, MapEntry] = field(
        init=False, repr=False, compare=False, default_factory=dict[str, MapEntry]
    )

    #: follower roots that a map entry feeds: one follower product has one source, or targets would fight
    taken: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    #: `max_age_s` as the risk check compares it
    max_age_ms: int = field(init=False, repr=False, compare=False, default=0)

    #: nothing filters its entries: one look instead of many
    takes_all: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        check_rule(self)
        filters = self.include or self.exclude or self.strategies or self.side_filter != "both"
        object.__setattr__(self, "max_age_ms", int(self.max_age_s * 1000))
        object.__setattr__(self, "takes_all", self.pace == "active" and not filters)
        object.__setattr__(self, "routes", {entry.from_root: entry for entry in self.symbol_map})
        object.__setattr__(self, "taken", frozenset(entry.to_root for entry in self.symbol_map))


class InvalidRule(KopitraError):
    """A rule that cannot be meant; `field` names the part at fault."""

    code = "invalid-rule"

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(f"{field_name}: {message}")
        self.field = field_name


#: milliseconds
DELAY_MS_MAX = 60_000
#: seconds, CopyFactory's default expiry of open signals is the hard bound
ENTRY_AGE_S_MAX = Decimal(60)


def check_rule(rule: CopyRule) -> None:
    """Raise InvalidRule naming the field."""
    checks = (
        ("sizing.value", rule.sizing.value > 0, "must be above zero"),
        (
            "sizing.value",
            rule.sizing.mode != "risk_from_stop" or rule.sizing.value <= 100,
            "is a percentage up to 100",
        ),
        ("min_order", rule.min_order >= 0, "must not be negative"),
        (
            "max_order",
            rule.max_order is None or rule.max_order > 0,
            "must be above zero, or left out for no cap",
        ),
        (
            "max_position",
            rule.max_position is None or rule.max_position > 0,
            "must be above zero, or left out",
        ),
        ("delay_ms", 0 <= rule.delay_ms <= DELAY_MS_MAX, f"must lie between 0 and {DELAY_MS_MAX}"),
        (
            "guard_ticks",
            rule.guard_ticks is None or rule.guard_ticks >= 0,
            "must not be negative; leave it out for no guard",
        ),
        (
            "collar_ticks",
            rule.collar_ticks is None or rule.collar_ticks >= 0,
            "must not be negative; leave it out for market orders",
        ),
        ("max_age_s", 0 < rule.max_age_s <= ENTRY_AGE_S_MAX, f"must lie between 0 and {ENTRY_AGE_S_MAX}"),
        ("symbol_map", all(e.ratio > 0 for e in rule.symbol_map), "ratios must be above zero"),
        (
            "symbol_map",
            all(e.from_root in INSTRUMENTS and e.to_root in INSTRUMENTS for e in rule.symbol_map),
            "names a product we do not know; use roots such as ES or MES",
        ),
        (
            "symbol_map",
            len({e.from_root for e in rule.symbol_map}) == len(rule.symbol_map),
            "maps one leader root twice; keep one entry per root",
        ),
        (
            "symbol_map",
            len({e.to_root for e in rule.symbol_map}) == len(rule.symbol_map),
            "feeds one follower root from two leader roots; keep one",
        ),
    )
    for name, holds, message in checks:
        if not holds:
            raise InvalidRule(name, message)


def source_of(symbol_map: Sequence[MapEntry], root: str) -> str | None:
    """The leader's product that a follower's product copies under a map; None: nothing feeds it."""
    fed = next((entry.from_root for entry in symbol_map if entry.to_root == root), None)
    if fed is not None or any(entry.from_root == root for entry in symbol_map):
        return fed
    return root


def check_acyclic(edges: Iterable[tuple[str, str]]) -> None:
    """Refuse a copy graph in which an account would follow itself. `edges`: (leader's account, follower account)."""
    leaders: dict[str, set[str]] = {}
    for source, target in edges:
        leaders.setdefault(target, set()).add(source)
    try:
        TopologicalSorter(leaders).prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InvalidRule(
            "leader", f"the copy graph would be circular ({circle}); remove one of these rules"
        ) from None
