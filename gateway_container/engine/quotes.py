"""Prices for the decisions that need one: which contracts are streamed, and from whom.

Percent-of-equity and risk sizing, notional limits and price collars need a price when the signal brings none. One live
session per broker is asked for the front months of the products in question; what it says costs one write into a
dictionary (`State.price_seen`). A broker that offers no quotes ignores the request.
"""

import asyncio
from typing import Final

from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.copy_rules import CopyRule, SizingMode
from kopitra.domain.instruments import INSTRUMENTS, front_month
from kopitra.domain.limits import RiskLimits
from kopitra.ports import SessionChanged

#: contracts asked of one session
WATCHED_MAX: Final = 100
#: seconds after which the front months are looked at again: they turn
REFRESH_S: Final = 600.0
_SIZED_BY_PRICE: Final = frozenset[SizingMode]({"percent_of_equity", "risk_from_stop"})


def roots_needed(config: GatewayConfig) -> frozenset[str]:
    """Products of followers whose entries cannot be decided without a price."""
    found: set[str] = set()
    for rule in (rule for rules in config.rules.values() for rule in rules):
        account = config.accounts.get(rule.account_id)
        if account is not None and account.active and rule.pace == "active":
            found |= _roots_of(rule, account.limits)
    return frozenset(found)


def _roots_of(rule: CopyRule, limits: RiskLimits) -> set[str]:
    limited = limits.max_notional is not None or limits.price_collar_ticks is not None
    looked_at = rule.guard_ticks is not None or rule.collar_ticks is not None
    if rule.sizing.mode not in _SIZED_BY_PRICE and not limited and not looked_at:
        return set()
    copied = (root for root in rule.include or INSTRUMENTS if root not in rule.exclude)
    mapped = {rule.routes[root].to_root if root in rule.routes else root for root in copied}
    return mapped.intersection(limits.symbols) if limits.symbols else mapped


class Quotes:
    """Keeps one price source per broker."""

    def __init__(self, state: State, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions
        self._symbols: tuple[str, ...] = ()
        #: broker -> login that is its source
        self._sources: dict[str, str] = {}
        #: contracts that somebody holds and needs the price of, at most WATCHED_MAX
        self._held: dict[str, None] = {}
        self._again: asyncio.TimerHandle | None = None

    def also(self, contract: str) -> None:
        """Watch a contract whatever the rules need: an account with loss limits holds it. Safe to repeat."""
        if contract in self._held or len(self._held) >= WATCHED_MAX:
            return
        self._held[contract] = None
        self._symbols += (contract,)
        for login_id in self._sources.values():
            self._watch(login_id)

    def configure(self) -> None:
        """Work out what is needed, after a change of the configuration and now and then, and ask for it."""
        today = self._state.trade_date(self._state.clock.now())
        roots = sorted(roots_needed(self._state.config))
        fronts = [front_month(root, today).symbol for root in roots[:WATCHED_MAX]]
        self._symbols = tuple(dict.fromkeys([*fronts, *self._held]))
        for login_id, session in self._sessions.all.items():
            if session.state == "live":
                self._offer(login_id)
        for login_id in self._sources.values():
            self._watch(login_id)
        self.stop()
        self._again = asyncio.get_running_loop().call_later(REFRESH_S, self.configure)

    def session(self, event: SessionChanged) -> None:
        """A session that goes live may become its broker's source; one that goes is replaced."""
        if event.state == "live":
            if self._offer(event.login_id):
                self._watch(event.login_id)
            return
        broker = self._broker(event.login_id)
        if self._sources.get(broker) != event.login_id:
            return
        del self._sources[broker]
        for login_id, session in self._sessions.all.items():
            if session.state == "live" and self._broker(login_id) == broker and self._offer(login_id):
                self._watch(login_id)
                return

    @property
    def sources(self) -> tuple[str, ...]:
        """The logins that are asked."""
        return tuple(self._sources.values())

    def _offer(self, login_id: str) -> bool:
        """True when the login is its broker's source from now on, or was before."""
        broker = self._broker(login_id)
        if self._sources.get(broker) not in self._sessions.all:
            self._sources[broker] = login_id
        return self._sources[broker] == login_id

    def _broker(self, login_id: str) -> str:
        login = self._state.config.logins.get(login_id)
        return login.broker if login is not None else ""

    def _watch(self, login_id: str) -> None:
        session = self._sessions.all.get(login_id)
        if session is not None and self._symbols:
            session.watch(self._symbols)

    def stop(self) -> None:
        """Forget the timer."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
