"""The broker sessions of this process: one per login, each with an owner task; a fault stays inside its login."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway_container.engine.config import AccountConfig, GatewayConfig, LoginConfig
from gateway_container.engine.keeping import Keeping
from gateway_container.engine.shadow import Shadows, ShadowSession, without_reports
from gateway_container.engine.state import State
from kopitra.domain.errors import KopitraError
from kopitra.ports import AccountLink, BrokerAdapter, BrokerSession, LoginPlan, SessionChanged, SessionEvent
from kopitra.store.ending import ended

#: seconds that a closing session still lets cancels pass
DRAIN_S: Final = 1.0
#: seconds for a closed session to give its connections back
RELEASE_S: Final = 2.0
#: seconds for all sessions together to close
CLOSE_S: Final = 5.0

_log = structlog.get_logger("kopitra.sessions")


class Sessions:
    """Opens, finds and closes sessions."""

    def __init__(
        self, state: State, adapters: Mapping[str, BrokerAdapter], sink: Callable[[SessionEvent], None]
    ) -> None:
        self._state = state
        self._adapters = adapters
        self._sink = sink
        self._sessions: dict[str, BrokerSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._opened: dict[str, LoginConfig] = {}
        #: login -> its accounts, each with its being a shadow
        self._accounts: dict[str, frozenset[tuple[str, bool]]] = {}
        self.shadows = Shadows()
        #: broker -> loop time before which its lists may not show what the holder before this process sent last
        self.blind_until_s: dict[str, float] = {}
        #: account -> when the process before this one sent requests there lately (`spending.py`)
        self.spent_ns: Mapping[str, Sequence[int]] = {}
        self._by_account: dict[str, BrokerSession] = {}
        self._closed = False

    def of(self, account_id: str) -> BrokerSession | None:
        """The session that carries an account; None when there is none."""
        return self._by_account.get(account_id)

    def adapter_of(self, account_id: str) -> BrokerAdapter | None:
        """The adapter of an account's broker."""
        account = self._state.account(account_id)
        return self._adapters.get(account.broker) if account is not None else None

    async def apply(self, config: GatewayConfig) -> None:
        """Open what is new, reopen what changed, close what is gone; nothing once all were told to close."""
        wanted = {login_id: _accounts_of(config, login_id) for login_id in config.logins}
        for login_id in list(self._sessions):
            unchanged = self._opened.get(login_id) == config.logins.get(login_id) and self._accounts.get(
                login_id
            ) == wanted.get(login_id)
            if not unchanged and login_id in self._sessions:  # the last close may have been the last of all
                await self._close(login_id)
        if self._closed:
            return  # a process that has lost its shard must not log in any more: it would throw its successor out
        for login_id, login in config.logins.items():
            if login_id not in self._sessions and wanted[login_id]:
                self._open(config, login)
        for account in config.accounts.values():
            if account.shadow and not account.login_id and account.account_id not in self._by_account:
                self._by_account[account.account_id] = self._shadow(account, None)
                self._state.facts_of(account.account_id).live = True

    def _shadow(self, account: AccountConfig, real: BrokerSession | None) -> ShadowSession:
        made = ShadowSession(account.account_id, self._state, self._sink, real)
        return self.shadows.open(account.account_id, made)

    def _open(self, config: GatewayConfig, login: LoginConfig) -> None:
        adapter = self._adapters.get(login.broker)
        if adapter is None:
            reason = f"no adapter for broker {login.broker}: is its folder in brokers/?"
            self._sink(SessionChanged(login.login_id, "closed", reason, fatal=True))
            return
        accounts = [a for a in config.accounts.values() if a.login_id == login.login_id and a.active]
        links = tuple(AccountLink(a.account_id, a.broker_account, a.settings) for a in accounts)
        spent_ns = tuple(
            sorted(at for a in accounts if not a.shadow for at in self.spent_ns.get(a.account_id, ()))
        )
        plan = LoginPlan(login.login_id, links, login.settings, login.credentials, spent_ns)
        shadows = frozenset(a.account_id for a in accounts if a.shadow)
        sink = without_reports(self._sink, shadows) if shadows else self._sink
        try:
            session = adapter.open_session(plan, sink, self._state.clock)
        except (KopitraError, ValueError, KeyError) as error:  # settings that the adapter cannot read
            self._sink(SessionChanged(login.login_id, "closed", f"settings: {error}", fatal=True))
            return
        session.keep(Keeping(self._state, tuple(a.account_id for a in accounts if not a.shadow)))
        self._sessions[login.login_id] = session
        self._opened[login.login_id] = login
        self._accounts[login.login_id] = _accounts_of(config, login.login_id)
        for account in accounts:
            self._by_account[account.account_id] = (
                self._shadow(account, session) if account.shadow else session
            )
        run = self._run(session, login.broker)
        task = asyncio.get_running_loop().create_task(run, name=f"session {login.login_id}")
        task.add_done_callback(lambda done: self._ended(login.login_id, done))
        self._tasks[login.login_id] = task

    async def _run(self, session: BrokerSession, broker: str) -> None:
        wait_s = self.blind_until_s.get(broker, 0.0) - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await session.run()

    def take_over(self, margin_s: float) -> None:
        """The holder before this process may have sent exits that nobody knows of, the last of them `margin_s` before
        now: each broker is read for the first time when its lists show them, so that none is sent twice (I-01)."""
        now_s = asyncio.get_running_loop().time()
        for code, adapter in self._adapters.items():
            self.blind_until_s[code] = now_s + adapter.capabilities.lists_lag_ms_max / 1000 - margin_s

    def _ended(self, login_id: str, task: asyncio.Task[None]) -> None:
        """A session that ends by itself has said why, unless it fell over: then only its accounts stop."""
        if task.cancelled() or task.exception() is None:
            return
        _log.error("session_failed", login_id=login_id, error=type(task.exception()).__name__)
        self._sink(
            SessionChanged(login_id, "closed", f"the session failed: {task.exception()!r}", fatal=True)
        )

    async def _close(self, login_id: str, drain_s: float = DRAIN_S) -> None:
        session, task = self._sessions.pop(login_id), self._tasks.pop(login_id)
        self._opened.pop(login_id, None)
        for account_id, _ in self._accounts.pop(login_id, frozenset()):
            self._by_account.pop(account_id, None)
            self.shadows.close(account_id)
        await session.close(drain_s=drain_s)
        # `run` gives its connections back before it ends: only one that hangs is cut off.
        _, hanging = await asyncio.wait([task], timeout=RELEASE_S)
        if hanging:
            await ended([task])

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Close all for ever, CLOSE_S at most; cancels may still pass for `drain_s`."""
        self._closed = True
        names = list(self._sessions)
        if names:
            closing = [asyncio.get_running_loop().create_task(self._close(name, drain_s)) for name in names]
            _, hanging = await asyncio.wait(closing, timeout=CLOSE_S)
            for task in hanging:
                task.cancel()

    @property
    def all(self) -> Mapping[str, BrokerSession]:
        """Sessions by login."""
        return self._sessions


def _accounts_of(config: GatewayConfig, login_id: str) -> frozenset[tuple[str, bool]]:
    accounts = config.accounts.values()
    return frozenset((a.account_id, a.shadow) for a in accounts if a.login_id == login_id and a.active)
