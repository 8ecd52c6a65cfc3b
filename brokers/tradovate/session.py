"""One login: a socket that carries orders and events, REST for login and lists, and the steps of its life."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from random import Random
from typing import Final

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.budget import READS, Budget, BudgetPolicy, Denied, Lane, Window
from brokers._kit.rest import DATE_RESOLUTION_MS, RestClient, RestSettings
from brokers._kit.runner import RunnerPolicy, SessionPlan, SessionRunner
from brokers._kit.tokens import TokenHolder
from brokers.tradovate import codec, frames
from brokers.tradovate.accounts import Accounts
from brokers.tradovate.answers import Penalty
from brokers.tradovate.auth import Login, Token
from brokers.tradovate.events import Events
from brokers.tradovate.gate import ConnectGate
from brokers.tradovate.join import Joiner
from brokers.tradovate.link import Link, TokenNotTaken
from brokers.tradovate.lookups import OWN_BUDGET, Lookups
from brokers.tradovate.orders import Doors, OrderDesk
from brokers.tradovate.quotes import QuoteFeed
from brokers.tradovate.rows import Seen, Told
from brokers.tradovate.settings import parse_settings
from brokers.tradovate.snapshot import LISTS, Reader, absorb, account_snapshot, first_look
from brokers.tradovate.symbols import ContractBook, is_known
from brokers.tradovate.sync import Snapshotter
from brokers.tradovate.tracks import Missing
from kopitra.domain.errors import Disconnected, LoginRefused, Throttled
from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.orders import OrderIntent
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
    SessionState,
    Writable,
)

#: seconds; each step has its own shorter limits, and the connect gate of many logins may take long
_STEP_MAX_S: Final = 900.0
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_BUSY_S: Final = 0.05


class TradovateSession:
    """A BrokerSession. Made by the adapter; `run` owns it."""

    def __init__(
        self, plan: LoginPlan, sink: EventSink, clock: Clock, rng: Random, gate: ConnectGate
    ) -> None:
        settings = self._settings = parse_settings(plan.settings)
        self._plan = plan
        self._sink = sink
        self._clock = clock
        self._gate = gate
        self._tls = settings.tls()
        rest_settings = RestSettings(timeout_s=settings.connect_timeout_s, body_bytes_max=_BODY_BYTES_MAX)
        self._rest = RestClient(
            settings.base_url, tls=self._tls or True, settings=rest_settings, on_date=self._dated
        )
        login = Login(plan, settings, self._rest, clock, self._alert)
        self._tokens: TokenHolder[Token] = TokenHolder(login.fetch, clock_ns=clock.monotonic_ns, rng=rng)
        self._budget = Budget(
            _budget_policy(settings.requests_per_minute, settings.requests_per_hour, settings.exit_reserve)
        )
        self._budget.spent(plan.spent_ns)
        self._contracts = ContractBook()
        self._accounts = Accounts(plan.accounts)
        self._told = Told(plan.login_id, self._accounts.ours, sink)
        self._reader = Reader(
            self._rest, self._access, self._spend, self._contracts, clock.monotonic_ns, self._told.look
        )
        self._joiner = Joiner(
            self._accounts.ours, self._contracts, sink, self._look_up, clock.now, wait_s=settings.join_wait_s
        )
        self._events = Events(plan.login_id, self._joiner, self._accounts, self._contracts, sink)
        self._lookups = Lookups(
            self._joiner, self._events, self._reader, self._contracts, self._budget, clock.monotonic_ns,
            alert=self._alert, penalized=self._penalized,
        )  # fmt: skip
        self._sync = Snapshotter(settings.snapshot_quiet_s, settings.snapshot_timeout_s, self._on_late)
        self._history, self._taken_in = True, False
        self._throttle_s = settings.throttle_wait_s
        self._desk = OrderDesk(
            plan.login_id, self._joiner, self._budget, self._doors(), settings.request_timeout_s
        )
        self._quotes = QuoteFeed(settings, self._tls, clock, self._market_token, self._contracts, sink)
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._denied_until_ns = 0
        steps = SessionPlan(
            self._connect, self._log_in, self._subscribe, self._reconcile, self._live, self._release,
            settled=lambda: self._desk.settled and not self._joiner.open_orders,
        )  # fmt: skip
        backoff = BackoffPolicy(first_s=settings.reconnect_first_s, max_s=settings.reconnect_max_s)
        policy = RunnerPolicy(reconnect=backoff, step_max_s=_STEP_MAX_S)
        self._runner = SessionRunner(
            plan.login_id, steps, sink, clock_ns=clock.monotonic_ns, rng=rng, policy=policy
        )

    # -- BrokerSession -----------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        """Where the session is in its life."""
        return self._runner.state

    async def run(self) -> None:
        """Own the session until `close` or a fatal error."""
        try:
            await self._runner.run()
        finally:
            await self._quotes.aclose()
            await self._rest.aclose()

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        """The order's body; accounts are known once the session was live."""
        heads = self._accounts.heads.get(intent.account_id)
        if heads is None:
            return self._accounts.missing(intent.account_id)
        if attached:
            body = codec.encode_bracket(heads, intent, attached, self._settings.peg_factor)
        elif (intent.leader == "" or intent.native) and self._settings.native_close:
            body = self._native_close(heads, intent)
        else:
            body = codec.encode_order(heads, intent, self._settings.peg_factor)
        if isinstance(body, NotSent):
            return body
        if not is_known(intent.symbol) and self._contracts.id_of(intent.symbol) is None:
            return NotSent("unknown_contract", f"Nobody knows a contract {intent.symbol}; check the symbol.")
        payload = f"{body}}}".encode()
        if not attached:
            return Encoded(intent.cl_ord_id, intent.account_id, payload)
        ids = tuple([child.cl_ord_id for child in attached])
        return Encoded(intent.cl_ord_id, intent.account_id, payload, ids, self._settings.bracket_requests)

    def _native_close(self, heads: codec.Heads, intent: OrderIntent) -> str | NotSent:
        closes = intent.role == "exit" and intent.reduce_only and intent.ord_type == "market"
        contract_id = self._contracts.id_of(intent.symbol) if closes else None
        if contract_id is None:
            return codec.encode_order(heads, intent, self._settings.peg_factor)
        return codec.encode_liquidate(heads.account_id, contract_id)

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        """Write the order now."""
        return self._desk.submit(encoded, lane_exit=lane_exit)

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Ask for a cancel."""
        return self._desk.cancel(order, request_id)

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> Sent | NotSent:
        """Ask for new numbers."""
        expire_time = self._joiner.expire_time(order.order_id)
        body = codec.encode_modify(order, numbers, self._settings.peg_factor, expire_time)
        return self._desk.replace(order, body, request_id)

    async def snapshot(
        self, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        """Read the account over REST; raises a SessionError when it cannot be read."""
        broker_id = self._accounts.broker_id(account_id)
        started_ns, seen = await self._reader.lists(READS[lane])
        cash = None if lane == "flatten" else await self._reader.cash(broker_id, READS[lane])
        return account_snapshot(
            seen, broker_id, account_id, self._contracts, since=since, started_ns=started_ns, cash=cash
        )

    def forecast(self) -> Forecast:
        """What the login may still send now."""
        return self._budget.outlook(self._clock.monotonic_ns())

    def keep(self, kept: Callable[[], int]) -> None:
        """Leave so many requests to exits."""
        self._budget.kept = kept

    def watch(self, symbols: Sequence[str]) -> None:
        """Stream quotes of these contracts, where the login's settings allow it."""
        self._quotes.watch(symbols)

    async def close(self, *, drain_s: float) -> None:
        """Drain, then closed."""
        await self._runner.close(drain_s=drain_s)

    # -- steps of a life ---------------------------------------------------------------------------------

    async def _connect(self) -> None:
        distance_s = self._settings.connect_interval_s
        await asyncio.sleep(self._gate.reserve(self._clock.monotonic_ns(), distance_s))

    async def _log_in(self) -> None:
        token = await self._tokens.get()
        if self._accounts.unresolved:
            self._spend(1, Lane.RECOVER)
            for text in await self._accounts.resolve(self._reader):
                self._alert(text)

        link = self._link = Link(
            self._settings, self._clock.monotonic_ns, self._on_item, self._events.on_props, self._lookups.look
        )
        await link.open(self._settings.socket_url, self._tls)
        try:
            await link.authorize(token.access)
        except TokenNotTaken:
            self._tokens.invalidate(token)
            raise
        self._desk.use(link)

    async def _subscribe(self) -> None:
        token = await self._tokens.get()
        self._spend(1, Lane.RECOVER)
        self._sync.begin(self._open_link(), token.user_id)

    async def _reconcile(self) -> None:
        started_ns = self._clock.monotonic_ns()
        async with asyncio.timeout(self._settings.snapshot_timeout_s):
            seen = await self._sync.complete()
        rows = (*seen.orders, *seen.positions)
        self._contracts.learn(seen.contracts)
        await self._reader.learn(
            {row.contract_id for row in rows if row.contract_id is not None}, Lane.RECOVER
        )
        await self._must_live()
        self._take_in(seen, late=False)
        self._taken_in = True
        for snapshot in await first_look(
            self._reader, seen, self._accounts.ours, self._contracts, started_ns
        ):
            self._sink(snapshot)
        await self._must_live()
        self._lookups.use(self._link)
        self._events.release(self._clock.monotonic_ns())

    async def _must_live(self) -> None:
        link = self._open_link()
        if not link.is_open:
            raise await link.ended()

    def _on_late(self, seen: Seen) -> None:
        self._contracts.learn(seen.contracts)
        self._take_in(seen, late=True)

    def _take_in(self, seen: Seen, *, late: bool) -> None:
        # In the first life that takes in a snapshot it is history, with all its parts.
        self._told.look(seen)
        absorb(seen, self._joiner, self._clock.monotonic_ns(), first=self._history, late=late)

    async def _live(self) -> None:
        link = self._open_link()
        renewing = asyncio.create_task(self._keep_fresh(), name=f"token {self._plan.login_id}")
        try:
            raise await link.ended()
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _keep_fresh(self) -> None:
        try:
            await self._tokens.keep_fresh()
        except LoginRefused as refused:
            # The socket still lives, and it watches open positions: it goes on until it ends by itself.
            self._alert(f"The token cannot be renewed: {refused.message}")

    async def _release(self) -> None:
        link, self._link = self._link, None
        self._history = self._history and not self._taken_in
        self._desk.use(None)
        self._lookups.use(None)
        self._events.hold()
        if link is not None:
            await link.aclose()
        self._desk.lose_all("the socket ended before the answer")
        for task in list(self._tasks):
            task.cancel()

    def _open_link(self) -> Link:
        if self._link is None:
            raise Disconnected("there is no socket")
        return self._link

    # -- messages ----------------------------------------------------------------------------------------

    def _on_item(self, item: frames.Item, now_ns: int) -> None:
        if item.e is not None:
            return  # shutdown is read by the link, chart and clock are nobody's here
        if item.i == self._sync.request_id:
            self._sync.take(item)
        else:
            self._desk.on_answer(item, now_ns)

    def _look_up(self, missing: Missing, key: int) -> bool:
        return self._lookups.ask(missing, key)

    # -- small things ------------------------------------------------------------------------------------

    def _doors(self) -> Doors:
        return Doors(
            takes_placements=lambda: self._runner.takes_placements,
            takes_cancels=lambda: self._runner.takes_cancels,
            sink=self._sink,
            now=self._clock.now,
            clock_ns=self._clock.monotonic_ns,
            token_refused=self._token_refused,
            throttled=self._throttled,
            busy=self._busy,
        )

    async def _access(self) -> str:
        return (await self._tokens.get()).access

    async def _market_token(self) -> str:
        return (await self._tokens.get()).market_data

    def _spend(self, requests: int, lane: Lane) -> None:
        granted = self._budget.take_read(lane, self._clock.monotonic_ns(), requests)
        if isinstance(granted, Denied):
            text = "the login's request budget is used up"
            raise Throttled(text, retry_after_s=granted.retry_after_s, code=OWN_BUDGET)

    def _token_refused(self) -> None:
        # 401 is also said of a missing permission or a contract that is not for sale: that must not become a
        # storm of logins, so a second one soon after is only told.
        now_ns = self._clock.monotonic_ns()
        token = self._tokens.current
        if token is None or now_ns < self._denied_until_ns:
            self._alert("An order was answered 401 again: check the API key's permissions and the contract.")
            return
        self._denied_until_ns = now_ns + int(self._settings.denied_again_s * 1e9)
        self._alert("An order was answered 401: the session logs in again and takes a new socket.")
        self._tokens.invalidate(token)
        if self._link is not None:
            self._spawn(self._link.aclose())

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _throttled(self, what: Penalty | int, lane: Lane) -> float:
        """Silence for as long as asked; the seconds. Tickets belong to an endpoint, which the desk keeps shut."""
        now_ns = self._clock.monotonic_ns()
        if isinstance(what, int):
            wait_s = self._throttle_s
            self._budget.pause(now_ns, wait_s)
            if lane is Lane.FLATTEN:
                self._budget.pause(now_ns, self._settings.exit_retry_s, lane)
            self._penalized(wait_s, f"The vendor answered {what}: silence for {wait_s:.0f} s.")
            self._throttle_s = min(wait_s * 2, self._settings.throttle_wait_max_s)
            return wait_s
        wait_s = self._settings.captcha_wait_s if what.captcha else max(what.wait_s, 1.0)
        self._budget.pause(now_ns, wait_s)
        hint = "It asks for a captcha: log in once by hand." if what.captcha else "It is a time penalty."
        self._penalized(wait_s, f"The vendor gave a penalty ticket: silence for {wait_s:.0f} s. {hint}")
        return wait_s

    def _busy(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_BUSY_S, self._sink, Writable(self._plan.login_id))

    def _dated(self, at: datetime) -> None:
        self._sink(BrokerTime(self._plan.login_id, at, self._clock.now(), DATE_RESOLUTION_MS))

    def _penalized(self, seconds: float, text: str) -> None:
        self._sink(Penalized(self._plan.login_id, seconds, text))
        self._alert(text)

    def _alert(self, text: str) -> None:
        self._sink(ProtocolAlert(self._plan.login_id, None, text))


def _budget_policy(per_minute: int, per_hour: int, exit_reserve: float) -> BudgetPolicy:
    share = min(1.0 - exit_reserve, 0.75)
    ceilings = {
        Lane.FLATTEN: 1.0,
        Lane.RECOVER: 1.0,
        Lane.EXIT: 1.0,
        Lane.PROTECT: share,
        Lane.ENTRY: share,
        Lane.STATUS: share * 0.8,
    }
    # Of accounts that are flattened together the first reads alone, and all others share the read after it.
    return BudgetPolicy((Window(per_minute, 60.0), Window(per_hour, 3600.0)), ceilings, reads=2 * LISTS)
