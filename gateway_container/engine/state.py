"""The gateway's memory: the book, the configuration, and live facts that are not journalled (money, prices, links)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway_container.engine.config import EMPTY, AccountConfig, GatewayConfig
from gateway_container.engine.senders import Senders
from kopitra.domain.book import Book, root_of
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.executions import BalanceReport, ExecutionReport, Quote
from kopitra.domain.fanout import AccountInputs, PlanInputs
from kopitra.domain.guard import BestPrice
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import ZERO
from kopitra.domain.prop_limits import PropStanding
from kopitra.domain.switches import Covered, KillSwitch, SwitchScope, SwitchState
from kopitra.ports import Clock

#: futures trade dates turn in Chicago, at 17:00 local time
_CHICAGO: Final = ZoneInfo("America/Chicago")
_TRADE_DATE_TURNS_AT_HOUR: Final = 17
#: a monotonic time that does not come
NEVER_NS: Final = 2**63


@dataclass(slots=True)
class AccountFacts:
    """What a broker last said of an account."""

    live: bool = False
    #: how often its session went live in this process: a new life voids what reads of the old one showed
    lives: int = 0
    #: monotonic; when the newest execution came into the book: a snapshot begun before says nothing of quantities
    filled_ns: int = 0
    balance: BalanceReport | None = None
    #: money won or lost by our executions, for brokers that do not tell the day's result
    realized: Decimal = ZERO
    #: contract -> net position as last reported
    positions: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    #: what the last plan was told, good while nothing it was made of has changed
    told: "_Told | None" = None

    @property
    def equity(self) -> Decimal | None:
        """Equity where the broker tells it, else the balance."""
        report = self.balance
        if report is None:
            return None
        return report.equity if report.equity is not None else report.balance

    @property
    def day_pnl(self) -> Decimal | None:
        """The day's result by the broker, else what our own executions made; None before the first balance."""
        if self.balance is None:
            return None
        told = self.balance.realized_day
        return told if told is not None else self.realized


class _Told(NamedTuple):
    """Inputs of a plan, and what they were made of."""

    made_of: tuple[object, ...]
    inputs: AccountInputs


class State:
    """One per process. Only the event loop touches it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.book = Book()
        self.config: GatewayConfig = EMPTY
        #: monotonic; when the configuration was last taken: what was decided before, also by a predecessor, is judged
        #: by it once more before it leaves
        self.configured_ns = -1
        self.facts: dict[str, AccountFacts] = {}
        #: last known price by product
        self.prices: dict[str, Decimal] = {}
        #: and when it was heard (monotonic)
        self.priced_ns: dict[str, int] = {}
        #: account with loss limits -> what its entries may do now (equity.py)
        self.standings: dict[str, PropStanding] = {}
        #: contract -> best prices where quotes are streamed; bounded by the contracts that are watched
        self.best: dict[str, BestPrice] = {}
        #: how far ahead senders' clocks are
        self.senders = Senders()
        #: our wall clock, or these brokers', are too far off for ages to mean anything
        self.wall_clock_off = False
        self.brokers_off_clock: set[str] = set()  # asked only, never walked
        #: brokers whose entry, stop and target go in one request
        self.bracket_brokers: frozenset[str] = frozenset()
        #: brokers that cut a reduce-only order to the position, and those that close a position natively: what they
        #: are told twice does no harm
        self.reducing_brokers: frozenset[str] = frozenset()
        self.closing_brokers: frozenset[str] = frozenset()
        #: monotonic; kill switches that were not read until then count as reducing (R-093)
        self.switches_until_ns = NEVER_NS
        #: when each switch last stopped something here (monotonic), and the newest of them: an entry that was decided
        #: before does not leave after the switch was lifted again (I-06)
        self.stops: dict[tuple[SwitchScope, str], int] = {}
        self.stopped_ns = -1
        self._today: tuple[int, date] = (0, date.min)

    def account(self, account_id: str) -> AccountConfig | None:
        """The configuration of an account."""
        return self.config.accounts.get(account_id)

    def rule(self, leader: str, account_id: str) -> CopyRule | None:
        """The present rule of a follower of a leader."""
        return next((r for r in self.config.rules_for(leader) if r.account_id == account_id), None)

    def workspace_of(self, account_id: str) -> str:
        """The workspace of an account; empty for one that is not configured (any more)."""
        account = self.config.accounts.get(account_id)
        return account.workspace if account is not None else ""

    def switch(self, account: AccountConfig, leader: str = "") -> SwitchState:
        """What counts for an account (behind a leader): the most restrictive of the switches that cover it, and
        reducing at least while they cannot be read (R-091, R-093)."""
        covered = Covered(account.workspace, leader, account.broker, account.account_id)
        found = self.book.switches.effective(covered)
        if found == "active" and self.clock.monotonic_ns() >= self.switches_until_ns:
            return "reducing"
        return found

    def stopped(self, switch: KillSwitch) -> None:
        """A switch was thrown; lifting is no stop."""
        if switch.state != "active" and not switch.lifting:
            self.stopped_ns = self.stops[switch.scope, switch.scope_id] = self.clock.monotonic_ns()

    def stopped_since(self, account: AccountConfig, leader: str, decided_ns: int) -> bool:
        """A switch stopped this account behind this leader after `decided_ns`, lifted or not."""
        covered = Covered(account.workspace, leader, account.broker, account.account_id)
        return any(self.stops.get(key, -1) >= decided_ns for key in covered.scopes())

    def facts_of(self, account_id: str) -> AccountFacts:
        """Live facts of an account, made on first use."""
        facts = self.facts.get(account_id)
        if facts is None:
            facts = self.facts[account_id] = AccountFacts()
        return facts

    def executed(self, report: ExecutionReport) -> None:
        """A new execution is in the book: its price is known, and older snapshots say nothing of quantities (R-004)."""
        if report.last_px is not None:
            self.price_seen(report.symbol, report.last_px)
        self.facts_of(report.account_id).filled_ns = self.clock.monotonic_ns()

    def price_seen(self, contract: str, price: Decimal) -> None:
        """Remember the newest price of a product."""
        root = root_of(contract)
        self.prices[root], self.priced_ns[root] = price, self.clock.monotonic_ns()

    def quoted(self, quote: Quote) -> None:
        """Remember the best prices of a contract and when we heard them."""
        bid, ask = quote.bid or quote.last or quote.ask, quote.ask or quote.last or quote.bid
        if bid is not None and ask is not None:
            self.best[quote.symbol] = BestPrice(bid, ask, self.clock.now())

    def trade_date(self, now: datetime) -> date:
        """The exchange's trade date in Chicago; worked out once a minute."""
        minute = int(now.timestamp()) // 60
        if self._today[0] != minute:
            local = now.astimezone(_CHICAGO)
            day = local.date()
            if local.hour >= _TRADE_DATE_TURNS_AT_HOUR:
                day = date.fromordinal(day.toordinal() + 1)
            self._today = (minute, day)
        return self._today[1]

    def plan_inputs(self, leader: str, rules: Sequence[CopyRule], now: datetime) -> PlanInputs:
        """Capture everything from outside the book that the plan of these rules may look at."""
        config = self.config
        accounts: dict[str, AccountInputs] = {}
        unread = self.clock.monotonic_ns() >= self.switches_until_ns
        for rule in rules:
            account = config.accounts.get(rule.account_id)
            if account is not None and account.active:
                accounts[rule.account_id] = self._account_inputs(account, leader, now, unread)
        known = config.leaders.get(leader)
        leader_equity, clock_off = None, self.wall_clock_off
        if known is not None and known.account_id is not None:
            leader_equity = self.facts_of(known.account_id).equity
            clock_off = clock_off or self._is_off_clock(known.account_id)
        return PlanInputs(
            now,
            self.trade_date(now),
            config.version,
            leader_equity,
            self.prices,
            accounts,
            self.best,
            self.senders.ahead_ms(leader),
            clock_off,
        )

    def _is_off_clock(self, account_id: str) -> bool:
        """The broker's clock dates the account's trades, and it is wrong."""
        account = self.config.accounts.get(account_id) if self.brokers_off_clock else None
        return account is not None and account.broker in self.brokers_off_clock

    def _account_inputs(
        self, account: AccountConfig, leader: str, now: datetime, unread: bool
    ) -> AccountInputs:
        facts = self.facts_of(account.account_id)
        switches = self.book.switches
        hours = account.limits.allowed_hours
        # Identity and small numbers only: comparing them costs less than making the inputs again.
        made_of = (
            account,
            leader,
            facts.live,
            facts.balance,
            facts.realized,
            facts.positions,
            switches.changes,
            unread,
            self.standings.get(account.account_id),
        )
        told = facts.told
        if told is not None and told.made_of == made_of and not hours:
            return told.inputs
        inputs = AccountInputs(
            switch=self.switch(account, leader),
            session_live=facts.live,
            equity=facts.equity,
            day_pnl=facts.day_pnl,
            in_hours=not hours or any(w.is_open(now) for w in hours),
            brackets=account.broker in self.bracket_brokers,
            limits=account.limits,
            limits_version=account.version,
            reported=facts.positions,
            prop=self.standings.get(account.account_id),
        )
        facts.told = _Told(made_of, inputs)
        return inputs

    def realized(self, account_id: str, contract: str, points: Decimal) -> None:
        """Add money won or lost by an execution of ours."""
        self.facts_of(account_id).realized += points * INSTRUMENTS[root_of(contract)].point_value
