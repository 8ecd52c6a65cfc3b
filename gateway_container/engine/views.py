"""What people and clients may read: a signal with its legs in words, the state of a workspace, health."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from gateway_container.engine.admission import LoginForecast
from gateway_container.engine.pulse import UNKNOWN_PULSE, Health
from gateway_container.engine.recovery import decode_row
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.book import root_of
from kopitra.domain.fanout import FollowerLeg
from kopitra.domain.flattening import stopped_by
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.orders import ChildOrder
from kopitra.domain.switches import KillSwitch, broker_of
from kopitra.store.shelf import Shelf
from kopitra.wire.limits import LimitsView
from kopitra.wire.views import (
    AccountView,
    ClockView,
    Condition,
    CopyCounts,
    Dependencies,
    ForecastView,
    HealthDetailView,
    HealthView,
    JournalHealth,
    LegView,
    OrderView,
    PositionView,
    ReplicaRole,
    SignalView,
    SnapshotView,
    SwitchView,
)


class Views:
    """Read-only pictures of one workspace at a time."""

    def __init__(
        self, state: State, shelf: Shelf, sessions: Sessions, ready: Callable[[], tuple[bool, bool]]
    ) -> None:
        self._state = state
        self._shelf = shelf
        self._sessions = sessions
        #: (journal takes rows, signals are accepted)
        self._ready = ready
        #: what this process is, and the epoch of the lease that it holds or saw last
        self.role: ReplicaRole = "holder"
        #: how accounts are served, where this process serves them
        self.health_of: Health | None = None
        #: what differs between an account and its broker, in words
        self.out_of_sync: Callable[[str], str] = lambda _account_id: ""
        self.epoch = 0
        #: a standby in a shard that nobody holds: it takes signals, and nothing sends them now
        self.dark = False
        #: this process's right to write, where it holds the shard
        self.journal: Callable[[], JournalHealth | None] = lambda: None
        #: where an account stands with its loss limits
        self.limits: Callable[[str], LimitsView | None] = lambda _account_id: None

    async def signal(self, workspace: str, signal_id: str) -> SignalView | None:
        """One signal; None when the workspace has none of this id."""
        row = await self._shelf.signal_row(workspace, signal_id)
        entry = None if row is None else decode_row(row)
        if row is None or not isinstance(entry, SignalPlanned):
            return None
        signal, plan = entry.signal, entry.plan
        return SignalView(
            signal_id=signal.signal_id,
            sequence=row.seq,
            list_id=plan.list_id,
            leader=signal.leader,
            source=signal.source,
            action=signal.action,
            symbol=signal.symbol,
            contract=signal.contract,
            side=signal.side,
            quantity=signal.quantity,
            occurred_at=signal.occurred_at,
            received_at=signal.received_at,
            copies=CopyCounts(
                approved=plan.count("approved"), skipped=plan.count("skipped"), refused=plan.count("refused")
            ),
            legs=tuple(self._leg(leg, plan.list_id) for leg in plan.legs),
        )

    def _leg(self, leg: FollowerLeg, list_id: str) -> LegView:
        book = self._state.book
        found = (book.orders.get(i) for i in book.lists.get(list_id, ()))
        children = [c for c in found if c is not None and c.intent.account_id == leg.account_id]
        entries = [a.intent.qty for a in leg.orders if a.intent.role in ("entry", "exit")]
        return LegView(
            account_id=leg.account_id,
            rule_id=leg.rule_id,
            rule_version=leg.rule_version,
            outcome=leg.outcome,
            reason=leg.reason,
            detail=leg.detail,
            qty=sum(entries, Decimal(0)) if entries else None,
            notional=leg.notional,
            orders=tuple(order_view(c) for c in children),
        )

    def snapshot(self, workspace: str, accounts: frozenset[str] | None) -> SnapshotView:
        """Everything a console shows, from memory."""
        state = self._state
        shown = [
            a
            for a in state.config.accounts.values()
            if a.workspace == workspace and (accounts is None or a.account_id in accounts)
        ]
        ids = frozenset(a.account_id for a in shown)
        return SnapshotView(
            sequence=state.book.seq,
            at=state.clock.now(),
            accounts=tuple(self._account(a.account_id) for a in shown),
            positions=self.positions(ids),
            orders=tuple(
                order_view(child)
                for (account_id, _), children in state.book.open.items()
                if account_id in ids
                for child in children.values()
            ),
            switches=tuple(_switch(s) for s in self.switches(workspace)),
            forecasts=self.forecasts(workspace, ids),
        )

    def forecasts(self, workspace: str, accounts: frozenset[str]) -> tuple[ForecastView, ...]:
        """What the next signal of each leader costs each login that carries one of these accounts."""
        if self.health_of is None:
            return ()
        config = self._state.config
        logins = {config.accounts[account_id].login_id for account_id in accounts}
        found = self.health_of.forecasts(workspace)
        return tuple(_forecast(forecast) for forecast in found if forecast.login_id in logins)

    def detail(self, workspace: str, accounts: frozenset[str] | None) -> HealthDetailView:
        """Health for operators (R-055)."""
        plain, picture = self.health(), self.snapshot(workspace, accounts)
        ahead_ms = {} if self.health_of is None else self.health_of.ahead_ms
        return HealthDetailView(
            status=plain.status,
            role=self.role,
            epoch=self.epoch,
            loop_lag_ms=0 if self.health_of is None else self.health_of.loop_lag_ms,
            accounts=picture.accounts,
            forecasts=picture.forecasts,
            clocks=tuple(ClockView(clock=whose, ahead_ms=ms) for whose, ms in sorted(ahead_ms.items())),
            journal=self.journal(),
        )

    def switches(self, workspace: str) -> tuple[KillSwitch, ...]:
        """Switches that can touch the workspace."""
        config = self._state.config
        own = {("workspace", workspace)}
        own |= {("account", a.account_id) for a in config.accounts.values() if a.workspace == workspace}
        own |= {("leader", x.leader_id) for x in config.leaders.values() if x.workspace == workspace}
        found = [_in(workspace, s) for s in self._state.book.switches.all()]
        return tuple(s for s in found if _is_for_all(s) or (s.scope, s.scope_id) in own)

    def _account(self, account_id: str) -> AccountView:
        state = self._state
        account = state.config.accounts[account_id]
        session = self._sessions.of(account_id)
        pulse = UNKNOWN_PULSE if self.health_of is None else self.health_of.account(account_id)
        return AccountView(
            account_id=account_id,
            title=account.title,
            broker=account.broker,
            session=session.state if session is not None else "closed",
            switch=state.switch(account),
            entries_blocked=stopped_by(state.book.blocked, state.book.flattens, account_id),
            blocked_symbols={c: why for (a, c), why in state.book.sync.blocked.items() if a == account_id},
            out_of_sync=self.out_of_sync(account_id),
            equity=state.facts_of(account_id).equity,
            limits=self.limits(account_id),
            breaker=pulse.breaker,
            queued=pulse.queued,
            deadline_misses=pulse.deadline_misses,
            service_us=pulse.service_us,
            pending_exits=pulse.pending_exits,
            shadow=account.shadow,
        )

    def positions(self, account_ids: Iterable[str]) -> tuple[PositionView, ...]:
        """Net positions by our executions, marked where a price is known."""
        ids = frozenset(account_ids)
        views: list[PositionView] = []
        for (account_id, symbol), position in self._state.book.positions.items():
            if account_id not in ids or position.qty == 0:
                continue
            mark = self._state.prices.get(root_of(symbol))
            value = INSTRUMENTS[root_of(symbol)].point_value
            open_pnl = (position.qty * mark - position.cost) * value if mark is not None else None
            views.append(
                PositionView(
                    account_id=account_id,
                    symbol=symbol,
                    qty=position.qty,
                    avg_px=position.avg_px,
                    mark_px=mark,
                    open_pnl=open_pnl,
                )
            )
        return tuple(views)

    def health(self) -> HealthView:
        """Readiness with dependencies."""
        journal, accepting = self._ready()
        states: dict[str, list[str]] = {}
        for login_id, session in self._sessions.all.items():
            login = self._state.config.logins.get(login_id)
            if login is not None:
                states.setdefault(login.broker, []).append(session.state)
        brokers: dict[str, Condition] = {
            broker: "healthy" if all(s == "live" for s in found) else "degraded"
            for broker, found in states.items()
        }
        ready = journal and accepting
        status: Condition = "healthy" if ready else "unhealthy"
        if ready and (self.dark or "degraded" in brokers.values()):
            status = "degraded"
        postgres: Condition = "healthy" if journal else "unhealthy"
        return HealthView(
            status=status,
            role=self.role,
            epoch=self.epoch,
            dependencies=Dependencies(postgres=postgres, brokers=brokers),
            accepting=ready,
        )


def order_view(child: ChildOrder) -> OrderView:
    """One child order in the wire's words."""
    intent = child.intent
    return OrderView(
        cl_ord_id=intent.cl_ord_id,
        order_id=child.order_id,
        role=intent.role,
        state=child.state,
        symbol=intent.symbol,
        side=intent.side,
        ord_type=intent.ord_type,
        qty=child.qty,
        price=child.price,
        stop_price=child.stop_price,
        cum_qty=child.cum_qty,
        leaves_qty=child.leaves_qty,
        avg_px=child.avg_px,
        reason=child.reason,
        hops=dict(child.hops),
    )


def _forecast(forecast: LoginForecast) -> ForecastView:
    room = forecast.room
    return ForecastView(
        leader=forecast.leader,
        login_id=forecast.login_id,
        broker=forecast.broker,
        followers=forecast.followers,
        plain=forecast.plain,
        with_bracket=forecast.protected,
        plain_served=forecast.plain_served,
        with_bracket_served=forecast.protected_served,
        left=room.entries,
        limit=room.limit,
        per_seconds=room.per_s,
        paused_seconds=room.paused_s,
    )


def _in(workspace: str, switch: KillSwitch) -> KillSwitch:
    """As it is named inside the workspace."""
    owner, broker = broker_of(switch.scope_id)
    return replace(switch, scope_id=broker) if switch.scope == "broker" and owner == workspace else switch


def _is_for_all(switch: KillSwitch) -> bool:
    return switch.scope == "global" or (switch.scope == "broker" and not broker_of(switch.scope_id)[0])


def _switch(switch: KillSwitch) -> SwitchView:
    return SwitchView(
        scope=switch.scope,
        scope_id=switch.scope_id,
        state=switch.state,
        reason=switch.reason,
        who=switch.who,
        epoch=switch.epoch,
        lifting=switch.lifting,
    )
