"""The simulated firm without its sockets: users, contracts, desk, queries, and the faults of its answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from brokers._kit.matching import AccountSpec, CoreEvent, MatchingCore, Quote
from brokers.tradovate.simulator.contracts import listed
from brokers.tradovate.simulator.desk import Desk, Done
from brokers.tradovate.simulator.feed import Feed
from brokers.tradovate.simulator.logins import Logins, Session, User
from brokers.tradovate.simulator.queries import Queries
from brokers.tradovate.simulator.quirks import Quirks
from brokers.tradovate.simulator.render import quoted, stamp
from brokers.tradovate.simulator.tables import Change, Row, Tables
from kopitra.ports import SimAccount

FIRST_ACCOUNT_ID: Final = 2**32 + 1_000_001
FIRST_USER_ID: Final = 15_460
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_RATE_WINDOW_S: Final = 60
_DENIED: Final = '"Access is denied"'

Fate = Literal["whole", "dropped", "cut"]


class Outcome(NamedTuple):
    """An answer, what it changed, and what the wire does to it. `silent`: never answered."""

    status: int
    text: str
    changes: Sequence[Change] = ()
    fate: Fate = "whole"
    silent: bool = False


class _Credentials(msgspec.Struct, rename="camel"):
    name: str = ""
    password: str = ""
    device_id: str = ""


class _Ticket(msgspec.Struct):
    ticket: str = msgspec.field(name="p-ticket", default="")


class _AccountOnly(msgspec.Struct, rename="camel"):
    account_id: int


class Firm:
    """One simulated firm. `now_ns` is the wall clock in nanoseconds since 1970."""

    def __init__(
        self, logins: Mapping[str, Sequence[SimAccount]], now_ns: Callable[[], int], seed: int
    ) -> None:
        self.now_ns = now_ns
        self.quirks = Quirks()
        contracts = tuple(listed(datetime.fromtimestamp(now_ns() // _NS_PER_S, UTC).date()))
        self._prices = {item.name: item for item in contracts}
        self.contract_ids = {item.name: item.id for item in contracts}
        specs, self._realized_start = _specs(logins)
        self.core = MatchingCore(specs, [item.instrument for item in contracts], seed=seed)
        self.logins = Logins(_users(logins, specs), now_ns)
        self._tickets: set[str] = set()
        self._issued = 0
        self.open()

    def open(self) -> None:
        """Fresh back office and prices, at the start and after a reset."""
        now_ns = self.now_ns()
        self.tables = Tables()
        user_ids = {name: user.user_id for name, user in self.logins.users.items()}
        self.feed = Feed(self.tables, self.contract_ids, user_ids, self._realized_start)
        self.desk = Desk(self.core, self.feed, {number: name for name, number in self.contract_ids.items()})
        self.queries = Queries(self.tables)
        for name, user_id in user_ids.items():
            self.tables.put(
                Row("user", user_id, 0, 0, f'{{"id":{user_id},"name":{quoted(name)}}}', name=name)
            )
        for name, item in self._prices.items():
            text = f'{{"id":{item.id},"name":"{name}","contractMaturityId":{item.id + 40_000}}}'
            self.tables.put(Row("contract", item.id, item.id + 40_000, 0, text, name=name))
            self.core.set_price(name, item.price, item.price + item.instrument.tick_size, item.price, now_ns)
        for state in self.core.accounts():
            self.feed.show_account(state, now_ns)

    def changes(self, events: Sequence[CoreEvent]) -> list[Change]:
        """Rows of what happened in the core by the control API or by time."""
        return self.feed.changes(events, self.now_ns())

    # -- requests --------------------------------------------------------------------------------------

    def login(self, body: bytes) -> Outcome:
        """auth/accesstokenrequest; HTTP 200 in all business cases."""
        fault = self._fault_before(None, body, is_command=True)
        if fault is not None:
            return fault
        try:
            asked = msgspec.json.decode(body, type=_Credentials)
        except msgspec.DecodeError:
            return Outcome(400, '"Bad request"')
        has_device = bool(asked.device_id)
        ttl_s = self.core.settings.token_ttl_s
        session = self.logins.login(asked.name, asked.password, has_device=has_device, ttl_s=ttl_s)
        if session is None:
            return Outcome(200, '{"errorText":"Incorrect username or password. Please try again."}')
        return Outcome(200, _token_json(session))

    def answer(
        self, session: Session | None, endpoint: str, query: Mapping[str, str], body: bytes
    ) -> Outcome:
        """Any other request; `session` None: no valid token."""
        if session is None:
            return Outcome(401, _DENIED)
        is_order = self.desk.takes(endpoint)
        fault = self._fault_before(session.user, body, is_command=is_order)
        if fault is not None:
            return fault
        if is_order:
            return self._order(session, endpoint, body)
        return self._read(session, endpoint, query, body)

    def sync_permission(self, session: Session, body: bytes, *, already: bool) -> Outcome:
        """user/syncrequest: an empty text when the snapshot may be sent. Once per socket."""
        fault = self._fault_before(session.user, body, is_command=True)
        if fault is not None:
            return fault
        return Outcome(400, '"Already synchronized"') if already else Outcome(200, "")

    def quotes(self) -> Mapping[str, Quote]:
        """Present quotes by symbol."""
        found = {symbol: self.core.quote(symbol) for symbol in self.contract_ids}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    def _read(self, session: Session, endpoint: str, query: Mapping[str, str], body: bytes) -> Outcome:
        user, settings = session.user, self.core.settings
        if endpoint == "auth/renewaccesstoken":
            return Outcome(200, _token_json(self.logins.renew(session, settings.token_ttl_s)))
        if endpoint == "auth/me":
            return Outcome(200, f'{{"userId":{user.user_id},"name":{quoted(user.name)}}}')
        if endpoint == "cashbalance/getcashbalancesnapshot":
            return self._cash(user, body)
        until_ns = self.now_ns() - settings.list_visibility_lag_ms * _NS_PER_MS
        found = self.queries.answer(endpoint, query, user, until_ns)
        return Outcome(404, '"Not found"') if found is None else Outcome(found.status, found.text)

    def _cash(self, user: User, body: bytes) -> Outcome:
        try:
            account_id = msgspec.json.decode(body, type=_AccountOnly).account_id
        except msgspec.DecodeError:
            return Outcome(400, '"Bad request"')
        state = self.core.account(account_id)
        if state is None or account_id not in user.accounts:
            return Outcome(200, '{"errorText":"Account not found"}')
        open_pnl = self._open_pnl(account_id)
        realized = self._realized_start.get(account_id, Decimal(0)) + state.realized_pnl - state.fees
        return Outcome(
            200,
            f'{{"totalCashValue":{state.balance:f},"totalPnL":{realized + open_pnl:f},"initialMargin":0,'
            f'"maintenanceMargin":0,"netLiq":{state.balance + open_pnl:f},"openPnL":{open_pnl:f},'
            f'"realizedPnL":{realized:f},"weekRealizedPnL":{realized:f}}}',
        )

    def _open_pnl(self, account_id: int) -> Decimal:
        total = Decimal(0)
        for held in self.core.positions(account_id):
            quote, instrument = self.core.quote(held.symbol), self.core.instrument(held.symbol)
            if quote is not None and instrument is not None and held.avg_px is not None:
                total += (quote.last - held.avg_px) * held.net_qty * instrument.point_value
        return total

    def _order(self, session: Session, endpoint: str, body: bytes) -> Outcome:
        if (self.quirks.live_mode and not session.has_device) or self._take("deny_next"):
            return Outcome(401, _DENIED)
        settings, dice = self.core.settings, self.core.dice
        if dice.hits(settings.drop_request_ratio):
            return Outcome(0, "", fate="dropped")
        if self._take("swallow_next"):
            return Outcome(0, "", silent=True)
        done = self.desk.handle(endpoint, body, session.user.accounts, self.now_ns())
        return self._fault_after(done)

    # -- faults ----------------------------------------------------------------------------------------

    def _fault_before(self, user: User | None, body: bytes, *, is_command: bool) -> Outcome | None:
        settings = self.core.settings
        if settings.maintenance:
            return Outcome(503, '"Maintenance"')
        if self._take("soft_lock_next"):
            return Outcome(423, "")
        window_s = settings.rate_window_s or _RATE_WINDOW_S
        full = user is not None and self.logins.throttled(user, settings.rate_limit_per_window, window_s)
        if full or self._take("throttle_next"):
            return Outcome(429, "")
        if is_command:
            return self._penalty(body)
        return None

    def _penalty(self, body: bytes) -> Outcome | None:
        settings = self.core.settings
        if self._tickets and b'"p-ticket"' in body:
            ticket = msgspec.json.decode(body, type=_Ticket).ticket
            if ticket in self._tickets:
                self._tickets.discard(ticket)
                return None
        if not self._take("penalty_next") and not self.core.dice.hits(settings.penalty_ticket_ratio):
            return None
        self._issued += 1
        ticket = f"ticket-{self._issued}"
        self._tickets.add(ticket)
        captcha = "true" if settings.captcha else "false"
        return Outcome(
            200, f'{{"p-ticket":"{ticket}","p-time":{settings.penalty_ticket_s},"p-captcha":{captcha}}}'
        )

    @property
    def open_tickets(self) -> int:
        """Penalty tickets that nobody has come back with."""
        return len(self._tickets)

    def _fault_after(self, done: Done) -> Outcome:
        settings, dice = self.core.settings, self.core.dice
        outcome = Outcome(done.status, done.answer, done.changes)
        if self._take("hang_up_next") or dice.hits(settings.drop_answer_ratio):
            return outcome._replace(fate="dropped")
        if dice.hits(settings.reset_ratio):
            return outcome._replace(fate="cut")
        if self._take("fail_next") or dice.hits(settings.answer_500_after_execute_ratio):
            return outcome._replace(status=500, text='"Internal error"')
        if self._take("garbage_next"):
            return outcome._replace(text='["what is this"]')
        return outcome

    @property
    def has_event_quirks(self) -> bool:
        """Whether events leave otherwise than plainly."""
        quirks = self.quirks
        return quirks.array_props or quirks.double_fill_next > 0 or quirks.odd_state_next > 0

    def take_odd_state(self) -> bool:
        """Whether an order that is told now is in a state of its own."""
        return self._take("odd_state_next")

    def take_double_fill(self) -> bool:
        """Whether a fill that leaves now is told twice."""
        return self._take("double_fill_next")

    def take_deaf(self) -> bool:
        """Whether a connection that comes now is never spoken to."""
        return self._take("deaf_next")

    def _take(self, name: str) -> bool:
        left: int = getattr(self.quirks, name)
        if left:
            self.quirks = replace(self.quirks, **{name: left - 1})
        return left > 0


def _token_json(session: Session) -> str:
    user = session.user
    return (
        f'{{"accessToken":"{session.token}","mdAccessToken":"{session.md_token}",'
        f'"expirationTime":"{stamp(session.expires_ns)}","userStatus":"Active","userId":{user.user_id},'
        f'"name":{quoted(user.name)},"hasLive":true}}'
    )


def _users(logins: Mapping[str, Sequence[SimAccount]], specs: Sequence[AccountSpec]) -> dict[str, User]:
    return {
        name: User(name, FIRST_USER_ID + number, frozenset(s.account_id for s in specs if s.login == name))
        for number, name in enumerate(logins)
    }


def _specs(logins: Mapping[str, Sequence[SimAccount]]) -> tuple[list[AccountSpec], dict[int, Decimal]]:
    specs: list[AccountSpec] = []
    realized: dict[int, Decimal] = {}
    for login, accounts in logins.items():
        for account in accounts:
            account_id = FIRST_ACCOUNT_ID + len(specs)
            flags = account.flags
            specs.append(
                AccountSpec(
                    account_id=account_id,
                    name=account.broker_account,
                    login=login,
                    balance=account.balance,
                    can_trade=flags.get("can_trade", "true") == "true",
                    liquidation_only=flags.get("liquidation_only", "false") == "true",
                    max_position_qty=int(flags.get("max_position_qty", "0")),
                )
            )
            realized[account_id] = Decimal(flags.get("realized_day", "0"))
    return specs, realized
