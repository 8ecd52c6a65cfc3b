"""The simulated firm, whole but without sockets: users, contracts, desk, queries and the events they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final

from brokers._kit.matching import AccountSpec, CoreRules, MatchingCore, OrderState, Quote
from brokers.projectx.simulator.contracts import Row, listed
from brokers.projectx.simulator.desk import Desk
from brokers.projectx.simulator.feed import Feed
from brokers.projectx.simulator.logins import Logins
from brokers.projectx.simulator.queries import Queries
from kopitra.ports import SimAccount

FIRST_ACCOUNT_ID: Final = 4_100_001
FIRST_ORDER_ID: Final = 3_500_000_001
FIRST_TRADE_ID: Final = 3_000_000_201
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Quirks:
    """What this wire has been seen to do beside the faults that every simulator knows; all off by default."""

    #: ids of orders in hub events as text
    string_ids: bool = False
    #: hub payloads as the docs show them, without action and data
    bare_payloads: bool = False
    #: list answers lack their list
    missing_lists: bool = False
    #: Order/v2/query answers 404, as on older deployments
    no_v2_query: bool = False
    #: hub events of one command travel in one frame
    coalesced_frames: bool = False
    #: the next so many placements are executed and answered with `ambiguous_code`
    ambiguous_next: int = 0
    #: 6 OrderPending or 7 UnknownError
    ambiguous_code: int = 6
    #: the next so many placements are executed and answered with bytes that are no JSON
    garbage_next: int = 0
    #: the next so many requests are answered 429
    throttle_next: int = 0
    #: the next so many placements are executed and answered with HTTP 500
    fail_next: int = 0
    #: the next so many placements are executed and their connection closed without an answer
    hang_up_next: int = 0
    #: the next so many placements are answered as taken; a rejection is told by the hub alone
    hub_rejects_next: int = 0
    #: the next so many order events of the hub tell a status that no page knows
    odd_state_next: int = 0
    #: the next so many requests with a token that does not count are told so half a second late
    late_denial_next: int = 0

    def with_changes(self, changes: Mapping[str, object]) -> "Quirks":
        """A changed copy; ValueError names an unknown quirk or a wrong type."""
        known = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no quirk {name!r}; known: {', '.join(sorted(known))}")
            if type(value) is not type(known[name]):
                raise ValueError(f"quirk {name} takes {type(known[name]).__name__}, not {value!r}")
        return replace(self, **changes)


class Firm:
    """One simulated firm. `now_ns` is the wall clock in nanoseconds since 1970."""

    def __init__(
        self, logins: Mapping[str, Sequence[SimAccount]], now_ns: Callable[[], int], seed: int
    ) -> None:
        self.now_ns = now_ns
        self.quirks = Quirks()
        self.logins = Logins(now_ns)
        rows = listed(datetime.fromtimestamp(now_ns() // _NS_PER_S, UTC).date())
        self.by_symbol: dict[str, Row] = {row.name: row for row in rows}
        self.by_id: dict[str, Row] = {row.id: row for row in rows}
        specs = _specs(logins)
        rules = CoreRules(unique_tags=True, first_order_id=FIRST_ORDER_ID, first_exec_id=FIRST_TRADE_ID)
        self.core = MatchingCore(specs, [row.instrument for row in rows], rules=rules, seed=seed)
        self.open_market()
        self._accounts = {
            name: frozenset(spec.account_id for spec in specs if spec.login == name) for name in logins
        }
        for name in logins:
            self.logins.add(name, api_key_of(name))
        self.desk = Desk(self.core, self.by_id)
        self.queries = Queries(self.core, lambda: rows, self.linked)
        self.feed = Feed(lambda: self.by_symbol, self.linked)

    def open_market(self) -> None:
        """Give every contract its opening price (at the start and after a reset)."""
        now_ns = self.now_ns()
        for row in self.by_symbol.values():
            instrument = row.instrument
            price = type(instrument.tick_size)(row.product.opening_price)
            self.core.set_price(row.name, price, price + instrument.tick_size, price, now_ns)

    def linked(self, state: OrderState) -> int | None:
        """A bracket's target names its stop (placed just before it), not the reverse."""
        group = state.oco_group
        return group if group is not None and group != state.order_id and state.ord_type == "limit" else None

    def accounts_of(self, user: str) -> frozenset[int]:
        """Ids of the accounts a user sees."""
        return self._accounts[user]

    def quotes(self) -> dict[str, Quote]:
        """Present quotes by symbol."""
        found = {symbol: self.core.quote(symbol) for symbol in self.by_symbol}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}


def api_key_of(user: str) -> str:
    """The API key that the simulator gives a user: known to whoever can read this line."""
    return f"key-of-{user}"


def _specs(logins: Mapping[str, Sequence[SimAccount]]) -> list[AccountSpec]:
    specs: list[AccountSpec] = []
    for login, accounts in logins.items():
        for account in accounts:
            flags = account.flags
            specs.append(
                AccountSpec(
                    account_id=FIRST_ACCOUNT_ID + len(specs),
                    name=account.broker_account,
                    login=login,
                    balance=account.balance,
                    can_trade=_flag(flags, "can_trade", default=True),
                    visible=_flag(flags, "visible", default=True),
                    simulated=_flag(flags, "simulated", default=True),
                    live_funded=_flag(flags, "live_funded"),
                    copy_follower=_flag(flags, "copy_follower"),
                    position_brackets=flags.get("brackets", "auto_oco") == "position",
                    max_position_qty=int(flags.get("max_position_qty", "0")),
                )
            )
    return specs


def _flag(flags: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = flags.get(name)
    if value not in (None, "true", "false"):
        raise ValueError(f"flag {name} takes true or false, not {value!r}")
    return default if value is None else value == "true"
