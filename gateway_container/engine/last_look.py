"""The last look before a write: lease, kill switch, deadline, what the child has become, what is really held.

Everything here is a comparison in memory: it runs once per order, between the commit and the socket.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from gateway_container.engine.breakers import Breakers
from gateway_container.engine.config import AccountConfig
from gateway_container.engine.market_state import Markets
from gateway_container.engine.queue import Place
from gateway_container.engine.state import NEVER_NS, State
from kopitra.domain.attribution import closable, still_too_much
from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.case import blocked
from kopitra.domain.flattening import LEFT_TO_FLATTEN, is_flattening
from kopitra.domain.orders import ZERO, OrderIntent, ReplaceIntent
from kopitra.domain.signals import sign
from kopitra.domain.switches import Covered, SwitchState

#: not a refusal: what became of the order meanwhile is in the book already
SUPERSEDED: Final = "superseded"
_NONE: Final[Mapping[str, ChildOrder]] = MappingProxyType({})
#: not a refusal either: the lease is over but for the grace, and this broker must not be told twice (R-073)
HELD_BACK: Final = "held_back"
#: why a move does not leave this process yet: it waits, or its successor sends it
NOT_YET: Final = frozenset({"draining", "take_over_wait", "loop_stuck"})


class Lease(Protocol):
    """The right to write, as a local deadline."""

    @property
    def valid_until_ns(self) -> int: ...
    @property
    def exits_until_ns(self) -> int: ...


class LastLook:
    """May this order leave now?"""

    def __init__(self, state: State, lease: Lease) -> None:
        self._state = state
        self._lease = lease
        self.breakers = Breakers(state.clock)
        self.markets = Markets()
        self.draining = False
        #: what guards entries here is gone: they, and their moves, have stopped for the life of this process
        self.unguarded = False
        #: monotonic; entries before it wait out a predecessor that may still be alive (R-085)
        self.entries_from_ns = 0
        #: monotonic; the event loop stands still when the watchdog has not looked until then
        self.awake_until_ns = NEVER_NS

    @property
    def lease_is_over(self) -> bool:
        """Nothing may be written any more, not even an exit."""
        return self._state.clock.monotonic_ns() >= self._lease.exits_until_ns

    @property
    def holds_lease(self) -> bool:
        """By the local clock; entries need it."""
        return self._state.clock.monotonic_ns() < self._lease.valid_until_ns

    def may_exit(self, account_id: str, *, flatten: bool = False) -> bool:
        """Exits of the account may leave: past the lease only where doing one twice does no harm (R-073)."""
        now_ns = self._state.clock.monotonic_ns()
        return now_ns < self._lease.valid_until_ns or self._in_grace(account_id, flatten, now_ns)

    def _in_grace(self, account_id: str, flatten: bool, now_ns: int) -> bool:
        """A successor may do the same: the broker itself must cut an exit to the position, or close natively, which
        is what the closes of a flatten are. A plain market order of both would turn the position."""
        account = self._state.account(account_id)
        if account is None or now_ns >= self._lease.exits_until_ns:
            return False
        state = self._state
        return account.broker in state.reducing_brokers or (
            flatten and account.broker in state.closing_brokers
        )

    def refusal(self, place: Place, now_ns: int) -> str | None:
        """Why the order may not leave; None when it may. An exit that exceeds the holding is cut (`place.intent`)."""
        intent = place.intent
        book = self._state.book
        child = book.orders.get(intent.cl_ord_id)
        if child is None or child.state != "claimed":
            return SUPERSEDED
        if child.cancel is not None:
            return "canceled_before_send"
        if book.flattens and intent.leader and is_flattening(book.flattens, intent.account_id):
            return LEFT_TO_FLATTEN  # two closes of one position would turn it
        if now_ns >= self._lease.valid_until_ns and (late := self._past_lease(intent, now_ns)):
            return late
        if intent.reduce_only:
            return self._halted(intent) or self._cap(place, child)
        return self._entry(place, now_ns)

    def _past_lease(self, intent: OrderIntent, now_ns: int) -> str | None:
        if not intent.reduce_only or now_ns >= self._lease.exits_until_ns:
            return "lease_lost"
        return None if self._in_grace(intent.account_id, intent.leader == "", now_ns) else HELD_BACK

    def _entry(self, place: Place, now_ns: int) -> str | None:
        """Why an entry may not leave."""
        intent = place.intent
        if (untimely := self._not_yet(now_ns)) is not None:
            return untimely
        if now_ns >= place.deadline_ns:
            return "deadline"
        if (overtaken := self._overtaken(intent)) is not None:
            return overtaken
        account = self._state.account(intent.account_id)
        if account is None:
            return "account_inactive"
        if self.breakers.shut and intent.account_id in self.breakers.shut:
            return "breaker_open"
        if self.markets.closed and self.markets.is_closed(account.broker, intent.symbol, now_ns):
            return "market_closed"
        return self._barred(account, intent, place.stamp.planned_ns, now_ns)

    def _barred(
        self, account: AccountConfig, intent: OrderIntent, decided_ns: int, now_ns: int
    ) -> str | None:
        """Why what opens may not leave, an entry and a move of one alike: people, limits or rules stop it now, or have
        since it was decided."""
        state, book = self._state, self._state.book
        if now_ns >= state.switches_until_ns:
            return "switches_unread"
        standings = state.standings
        if standings and (standing := standings.get(intent.account_id)) is not None and standing.stop:
            return standing.stop
        if (book.blocked or book.flattens or book.sync.blocked) and blocked(book, intent):
            return "entries_blocked"
        if state.configured_ns >= decided_ns and (unruled := self._unruled(account, intent)) is not None:
            return unruled
        return "kill_switch" if self._stopped(account, intent, decided_ns) else None

    def _unruled(self, account: AccountConfig, intent: OrderIntent) -> str | None:
        """The account or its rule takes no entries any more."""
        if not account.active:
            return "account_inactive"
        rule = self._state.rule(intent.leader, intent.account_id)
        if rule is None:
            return "rule_gone"
        return None if rule.pace == "active" else rule.pace

    def move_refusal(self, child: ChildOrder, wanted: ReplaceIntent, decided_ns: int) -> str | None:
        """Why an entry that rests may not be moved or made larger now; None when it may (I-06). What only makes it
        smaller may always leave; what protects is no entry. `decided_ns`: monotonic."""
        intent = child.intent
        if intent.reduce_only or wanted.only_shrinks(child.qty):
            return None
        now_ns = self._state.clock.monotonic_ns()
        if (untimely := self._not_yet(now_ns)) is not None:
            return untimely
        account = self._state.account(intent.account_id)
        return "account_inactive" if account is None else self._barred(account, intent, decided_ns, now_ns)

    def _not_yet(self, now_ns: int) -> str | None:
        """Not now, as this process stands."""
        if self.unguarded:
            return "unguarded"
        if self.draining:
            return "draining"
        if now_ns < self.entries_from_ns:
            return "take_over_wait"
        if now_ns >= self.awake_until_ns:
            return "loop_stuck"
        return None

    def _stopped(self, account: AccountConfig, intent: OrderIntent, decided_ns: int) -> bool:
        """A switch stops it now, or has since it was decided: lifting lets out what is decided afterwards (I-06)."""
        if self._state.stopped_ns >= decided_ns and self._state.stopped_since(
            account, intent.leader, decided_ns
        ):
            return True
        return self._switch(account, intent) != "active"

    def _overtaken(self, intent: OrderIntent) -> str | None:
        """Since the plan the leader closed or turned (I-10), or another entry fell in doubt (R-013, I-13)."""
        book = self._state.book
        episode = book.episodes.get((intent.leader, intent.account_id, root_of(intent.symbol)))
        if episode is None or (episode.target <= 0 if intent.side == "buy" else episode.target >= 0):
            return "leader_left"
        if book.doubts:
            pending = book.entries.get((intent.account_id, intent.symbol), _NONE)
            return "in_doubt" if any(name in book.doubts for name in pending) else None
        return None

    def _halted(self, intent: OrderIntent) -> str | None:
        """A halt lets nothing out but cancels and a flatten's own closes, which have no leader."""
        account = self._state.account(intent.account_id)
        return "kill_switch" if intent.leader and self._switch(account, intent) == "halted" else None

    def _switch(self, account: AccountConfig | None, intent: OrderIntent) -> SwitchState:
        switches = self._state.book.switches
        if switches.changes == 0 or account is None:
            return "active"
        return switches.effective(
            Covered(account.workspace, intent.leader, account.broker, account.account_id)
        )

    def _cap(self, place: Place, child: ChildOrder) -> str | None:
        """Exits together never exceed the holding, nor what a read has shown of it: cut the quantity, or drop the
        order when nothing is left."""
        intent = place.intent
        if intent.role != "exit" or intent.leader == "":
            return None
        book = self._state.book
        here = closable(book, intent.account_id, intent.symbol, intent.leader)
        qty = max(ZERO, -here * sign(intent.side))
        # What waited together was sized each for itself, and other orders may have filled meanwhile.
        if qty < intent.qty or len(book.open[intent.account_id, intent.leader]) > 1:
            qty = min(qty, still_too_much(book, child, qty))
        if qty == 0:
            return "nothing_held"
        if qty < intent.qty:
            place.intent = intent._replace(qty=qty)
            child.qty = qty
        return None
