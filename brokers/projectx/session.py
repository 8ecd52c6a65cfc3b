"""One login at a ProjectX firm as a BrokerSession: the parts put together, and the steps of its life."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.budget import READS, Budget, BudgetPolicy, Lane, Window
from brokers._kit.rest import DATE_RESOLUTION_MS, RestClient, RestSettings
from brokers._kit.runner import RunnerPolicy, SessionPlan, SessionRunner
from brokers._kit.tls import tls_for
from brokers._kit.tokens import TokenHolder, TokenPolicy
from brokers.projectx.accounts import Account, AccountDirectory
from brokers.projectx.api import Api
from brokers.projectx.auth import Authenticator
from brokers.projectx.codec import place_body, place_head, trail_level
from brokers.projectx.events import UserEvents
from brokers.projectx.market import MarketHub
from brokers.projectx.orders import OrderDesk
from brokers.projectx.poll import Poller
from brokers.projectx.quotes import QuoteBook
from brokers.projectx.racing import race
from brokers.projectx.reading import LOOKUPS, AccountReader, Books
from brokers.projectx.settings import Settings
from brokers.projectx.symbols import ContractBook
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.userhub import HubParts, UserHub
from kopitra.domain.errors import Disconnected, SessionError
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import Side
from kopitra.ports import (
    BrokerTime,
    Clock,
    Encoded,
    EventSink,
    Forecast,
    LoginPlan,
    NewNumbers,
    NotSent,
    OrderRef,
    Penalized,
    ProtocolAlert,
    ReadLane,
    Sent,
    SessionChanged,
    SessionEvent,
    SessionState,
)

HEADS_MAX: Final = 4_096  #: pre-rendered (account, contract) parts kept by one login
ORPHAN_LOOKUPS_MAX: Final = 100  #: lookups of orders that a fill named first, at one time
_ORPHAN_WAIT_S: Final = 0.5  #: the order's own event or answer usually follows its fill at once
_HISTORY_MAX: Final = timedelta(hours=24)  #: widest window asked of Order/search and Trade/search
_NS_PER_S: Final = 1_000_000_000

_CLOSED: Final = NotSent("session_down", "the session is not live: wait until it has reconnected")
_NO_TOKEN: Final = NotSent("session_down", "the login has expired: wait until it is renewed")
_NO_BRACKETS: Final = NotSent("not_supported", "attached brackets are not offered: send protective orders")


class ProjectXSession:
    """See `kopitra.ports.BrokerSession`."""

    def __init__(self, login: LoginPlan, sink: EventSink, clock: Clock) -> None:
        settings = self._settings = Settings.parse(login.settings)
        self._login_id = login.login_id
        self._sink = sink
        self._clock = clock
        self._rng = Random(login.login_id)
        self._tls = tls_for(settings.rtc_url)
        self._accounts = AccountDirectory(login.accounts)
        self._contracts = ContractBook()
        self._quotes = QuoteBook()
        self._heads: dict[tuple[str, str], bytes] = {}
        self._missing: dict[str, str] = {}  # why, by our id: bounded by the login's accounts
        self._first_life = True
        self._lookups: set[asyncio.Task[None]] = set()
        window = Window(settings.budget_per_window, settings.budget_window_s)
        policy = BudgetPolicy((window,), reads=LOOKUPS * len(login.accounts))
        self._budget = Budget(policy, self._penalized)
        self._budget.spent(login.spent_ns)
        self._rest = RestClient(
            settings.api_url,
            settings=RestSettings(timeout_s=settings.request_timeout_s),
            on_date=self._dated,
        )
        auth = Authenticator(self._rest, login.credentials, clock)
        self._tokens = TokenHolder(
            auth.fetch,
            clock_ns=clock.monotonic_ns,
            rng=self._rng,
            policy=TokenPolicy(refresh_at=settings.token_renew_share),
            on_new=lambda token: self._desk.use_token(token),
        )
        self._api = Api(self._rest, self._tokens, settings, self._budget, clock)
        self._tracker = OrderTracker(self._contracts)
        self._books = Books(self._contracts, self._quotes, settings)
        self._reader = AccountReader(
            self._login_id, self._api, self._tracker, self._contracts, self._books, clock, sink
        )
        self._desk = self._make_desk()
        self._market = MarketHub(
            self._login_id, settings, self._contracts, self._quotes, self._tls, clock, sink
        )
        self._hub = self._make_hub()
        self._runner = self._make_runner()

    def _make_desk(self) -> OrderDesk:
        return OrderDesk(
            self._login_id,
            self._settings,
            parts=(self._accounts, self._contracts, self._tracker, self._budget),
            clock=self._clock,
            rng=self._rng,
            sink=self._sink,
            on_unauthorized=self._unauthorized,
        )

    def _make_hub(self) -> UserHub:
        events = UserEvents(
            self._accounts, self._tracker, self._reader, self._books, self._clock, self._tell, self._orphaned
        )
        poller = Poller(
            self._login_id, self._settings, self._api, self._accounts, self._reader, self._tracker,
            self._books, self._clock, self._sink,
        )  # fmt: skip
        parts = HubParts(
            self._accounts, self._reader, events, poller, self._tokens, self._tls, self._clock, self._sink
        )
        return UserHub(self._login_id, self._settings, parts, self._rng, self._health)

    def _make_runner(self) -> SessionRunner:
        plan = SessionPlan(
            connect=self._desk.start,
            login=self._log_in,
            subscribe=self._hub.open,
            reconcile=self._reconcile,
            live=self._live,
            release=self._release,
            settled=lambda: self._desk.in_flight == 0,
        )
        reconnect = BackoffPolicy(
            first_s=self._settings.reconnect_first_s, max_s=self._settings.reconnect_max_s
        )
        return SessionRunner(
            self._login_id,
            plan,
            self._sink,
            clock_ns=self._clock.monotonic_ns,
            rng=self._rng,
            policy=RunnerPolicy(reconnect=reconnect),
        )

    # -- BrokerSession ---------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        return self._runner.state

    async def run(self) -> None:
        """Own the session until `close`, or until the firm refuses the login."""
        try:
            await self._runner.run()
        finally:
            await self._rest.aclose()

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        """The order as a body; the head with its token is added at the write."""
        if attached:
            return _NO_BRACKETS
        head = self._heads.get((intent.account_id, intent.symbol)) or self._new_head(intent)
        if isinstance(head, NotSent):
            return head
        level = None
        if intent.ord_type == "trailing_stop":
            level = self._trail_level(intent.symbol, intent.side, intent.trail_offset)
            if isinstance(level, NotSent):
                return level
        body = place_body(head, intent, level)
        return body if isinstance(body, NotSent) else Encoded(intent.cl_ord_id, intent.account_id, body)

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        """Write it now; its answer arrives at the sink."""
        if not self._runner.takes_placements:
            return _CLOSED
        if self._tokens.current is None:
            return _NO_TOKEN
        # Exits go on while a penalty holds entries back, until the broker itself refuses them.
        return self._desk.submit(encoded, Lane.FLATTEN if lane_exit else Lane.ENTRY)

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Ask for a cancel now."""
        return self._desk.cancel(order, request_id) if self._runner.takes_cancels else _CLOSED

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> Sent | NotSent:
        """Ask for new numbers now; the broker amends in place."""
        if not self._runner.takes_placements:
            return _CLOSED
        level = None
        if numbers.trail_offset is not None:
            level = self._trail_level(order.symbol, order.side, numbers.trail_offset)
            if isinstance(level, NotSent):
                return level
        return self._desk.replace(order, numbers, request_id, level)

    async def snapshot(
        self, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        """Read the account. Raises SessionError; KeyError for an account that this login does not see."""
        account = self._accounts.ours(account_id)
        if account is None:
            raise KeyError(f"account {account_id} is not visible with this login")
        return self._reader.snapshot(await self._reader.read(account, self._since(since), READS[lane]))

    def forecast(self) -> Forecast:
        """What the login may still send now."""
        return self._budget.outlook(self._clock.monotonic_ns())

    def keep(self, kept: Callable[[], int]) -> None:
        """Leave so many requests to exits."""
        self._budget.kept = kept

    def watch(self, symbols: Sequence[str]) -> None:
        """Stream quotes of these contracts to the sink."""
        self._market.want(symbols, told=True)

    async def close(self, *, drain_s: float) -> None:
        """Drain, then close."""
        await self._runner.close(drain_s=drain_s)

    # -- encoding --------------------------------------------------------------------------------------

    def _new_head(self, intent: OrderIntent) -> bytes | NotSent:
        account = self._accounts.ours(intent.account_id)
        if account is None:
            why = self._missing.get(intent.account_id)
            return _CLOSED if why is None else NotSent("session_down", why)
        contract_id = self._contracts.id_of(intent.symbol, self._clock.now().date())
        if contract_id is None:
            text = f"{intent.symbol} is not in the broker's contract list: map it to a contract that is"
            return NotSent("unknown_contract", text)
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        head = self._heads[intent.account_id, intent.symbol] = place_head(account.number, contract_id)
        return head

    def _trail_level(self, symbol: str, side: Side, offset: Decimal | None) -> Decimal | NotSent:
        listing = self._contracts.listing(symbol)
        if offset is None or not offset > 0 or listing is None:
            return NotSent("not_supported", "a trailing stop needs a distance above 0 and a listed contract")
        oldest_ns = self._clock.monotonic_ns() - int(self._settings.quote_age_max_s * _NS_PER_S)
        last = self._quotes.last(symbol, oldest_ns)
        if last is None:
            self._market.want((symbol,), told=False)
            text = f"no fresh quote of {symbol}: a trailing stop starts at a price level; try again"
            return NotSent("stale", text, 0.25)
        return trail_level(side, last, offset, listing)

    # -- the steps of a life -----------------------------------------------------------------------------

    async def _log_in(self) -> None:
        await self._tokens.get()
        self._contracts.learn(await self._api.contracts(Lane.RECOVER))
        rows = await self._api.accounts(Lane.RECOVER)
        if rows is None:
            raise Disconnected("the account list is missing from the answer; it is asked again")
        self._reader.odd(None, rows)
        remedy = (
            "a row of its list is unreadable, see its alert" if rows.unread else "check its name or number"
        )
        self._missing = {
            link.account_id: f"the login sees no account {link.broker_account!r}: {remedy}"
            for link in self._accounts.resolve(rows)
        }
        for account_id, text in self._missing.items():
            self._sink(ProtocolAlert(self._login_id, account_id, text))

    async def _reconcile(self) -> None:
        for account in self._accounts.all():
            await self._reader.catch_up(account, self._since(None), first=self._first_life)
        self._first_life = False

    async def _live(self) -> None:
        await race(
            self._hub.keep(),
            self._tokens.keep_fresh(),
            self._keep_contracts(),
            self._market.keep(self._tokens, self._rng),
            self._keep_marks(),
        )

    async def _release(self) -> None:
        for task in tuple(self._lookups):
            task.cancel()
        await self._hub.close()
        await self._desk.close()

    async def _keep_contracts(self) -> None:
        while True:
            await asyncio.sleep(self._settings.contracts_s)
            try:
                self._contracts.learn(await self._api.contracts())
            except SessionError as error:
                self._sink(ProtocolAlert(self._login_id, None, f"contract list: {error.message}"))

    async def _keep_marks(self) -> None:
        told: dict[str, Decimal | None] = {}  # by account: bounded by the login's accounts
        while self._settings.mark_positions:
            await asyncio.sleep(self._settings.mark_s)
            for account in self._accounts.all():
                held = self._books.held(account.account_id)
                self._market.want((position.symbol for position in held), told=False)
                now_ns = self._clock.monotonic_ns()
                report = self._books.balance(account.account_id, None, self._clock.now(), now_ns)
                if held and report is not None and report.equity != told.get(account.account_id):
                    told[account.account_id] = report.equity
                    self._sink(report)
        await asyncio.Event().wait()

    # -- small duties ------------------------------------------------------------------------------------

    def _tell(self, event: SessionEvent) -> None:
        if not (isinstance(event, ExecutionReport) and self._desk.holds(event)):
            self._sink(event)

    def _since(self, since: datetime | None) -> datetime:
        now = self._clock.now()
        widest = min(_HISTORY_MAX, timedelta(seconds=self._settings.history_s))
        return now - widest if since is None else max(since, now - _HISTORY_MAX)

    def _health(self, trouble: str) -> None:
        reason = f"degraded: the user hub is down ({trouble}); polling by REST" if trouble else ""
        self._sink(SessionChanged(self._login_id, self.state, reason))

    def _penalized(self, seconds: float) -> None:
        text = f"the firm asks for {seconds:.0f} s of silence (429)"
        self._sink(Penalized(self._login_id, seconds, text))

    def _dated(self, at: datetime) -> None:
        self._sink(BrokerTime(self._login_id, at, self._clock.now(), DATE_RESOLUTION_MS))

    def _unauthorized(self) -> None:
        self._desk.drop_token()  # until the new one is here, placements are refused instead of put in doubt
        token = self._tokens.current
        if token is not None:
            self._tokens.invalidate(token)
        self._start(self._renew())

    async def _renew(self) -> None:
        await self._tokens.get()

    def _orphaned(self, account: Account, order_id: int) -> None:
        if len(self._lookups) < ORPHAN_LOOKUPS_MAX:
            self._start(self._adopt(account, order_id))

    async def _adopt(self, account: Account, order_id: int) -> None:
        """A fill named an order that nobody has told of: wait a moment, then ask for it."""
        await asyncio.sleep(_ORPHAN_WAIT_S)
        if not self._tracker.waits_for(order_id):
            return
        try:
            reports = await self._reader.look_up(account, order_id, Lane.EXIT)
        except SessionError:
            # Better a fill that nobody claims, which reconciliation sees, than a fill untold.
            reports = list(self._tracker.take_orphans(order_id))
        for report in reports:
            self._sink(report)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._lookups.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._lookups.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            text = error.message if isinstance(error, SessionError) else f"unexpected {type(error).__name__}"
            self._sink(ProtocolAlert(self._login_id, None, f"a lookup failed: {text}"))
