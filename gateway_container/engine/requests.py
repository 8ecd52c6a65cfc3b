"""Cancels and moves of working orders: the newest wish leaves once the broker can be told; older ones never do."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.last_look import NOT_YET, LastLook
from gateway_container.engine.log import Log
from gateway_container.engine.state import State
from gateway_container.engine.written import Links, order_ref
from kopitra.domain.book import ChildOrder
from kopitra.domain.journal import OrdersSent, SentFact
from kopitra.domain.orders import ReplaceIntent
from kopitra.domain.orders import State as OrderState
from kopitra.ports import NewNumbers, NotSent, Sent

#: an order that the broker has acknowledged and that is not over
_REACHABLE: Final[frozenset[OrderState]] = frozenset({"acked", "working", "partial"})
#: refusals that pass: the request is tried again
WAITS: Final = frozenset({"busy", "rate_budget", "session_down", "penalty", "stale"})
#: orders whose last move is remembered, for the distance to the next one, and as many whose next one is wanted
MOVED_MAX: Final = 10_000
#: seconds between looks whether a move may leave this process by now, and whether one that must not is withdrawn
LOOK_AGAIN_S: Final = 1.0
_NS_PER_MS: Final = 1_000_000
_DOWN: Final = NotSent("session_down")
#: the next one a second later: what is more urgent takes this turn
_NEXT_TURN: Final = NotSent("busy", "the account's breaker is open, and something more urgent waits", 1.0)


class OnLeft(Protocol):
    """Hears of bytes that left."""

    def __call__(self, account_id: str, name: str, at_ns: int, /, *, exit_: bool) -> None: ...


def _unheard(_account_id: str, _name: str, _at_ns: int, /, *, exit_: bool) -> None:
    """Before the circle is closed nobody looks."""


class Requests:
    """Sends what children want of their brokers, and tries again what could not leave."""

    def __init__(
        self, state: State, log: Log, links: Links, look: LastLook, retry_later: Callable[[float], None]
    ) -> None:
        self._state = state
        self._log = log
        self._links = links
        self._look = look
        self._retry_later = retry_later
        #: hears of each cancel and move that left: (account, its name, monotonic time, it only shrinks)
        self.on_left: OnLeft = _unheard
        #: takes an account whose session raised where it must not (R-020)
        self.failed: Failed = uncontained
        #: closes wait at an account for their turn
        self.exits_wait: Callable[[str], bool] = lambda _account_id: False
        #: account -> children with a cancel or replace that could not leave yet
        self._wanting: dict[str, dict[str, None]] = {}
        #: order -> monotonic time at which its price was last moved, oldest leave first
        self._moved_ns: OrderedDict[str, int] = OrderedDict()
        #: order -> monotonic time since which a move is wanted that has not left, oldest leave first
        self._wanted_ns: OrderedDict[str, int] = OrderedDict()
        #: hears of a move that may not leave any more, and why
        self.on_barred: Callable[[ChildOrder, str], None] = lambda _child, _reason: None

    def send(self, child: ChildOrder | None) -> None:
        """Send the cancel or the newest move that is wanted for a child, once the broker can be told."""
        if child is None:
            return
        if child.replace is not None:
            self._wanted_since(child)
        if child.order_id is None or child.state not in _REACHABLE:
            return
        try:
            self._tell(child)
        except Exception as error:  # noqa: BLE001 - its own account's fault; asking twice is no harm
            self.failed(child.intent.account_id, "a cancel or move", error)
            self._want(child, NotSent("busy", f"its session raised {type(error).__name__}", LOOK_AGAIN_S))

    def _tell(self, child: ChildOrder) -> None:
        fact = self._cancel(child) if child.cancel is not None else self._replace(child)
        if fact is not None:
            account = self._state.account(child.intent.account_id)
            self._log.note(account.workspace if account else "", OrdersSent(child.intent.list_id, (fact,)))

    def _cancel(self, child: ChildOrder) -> SentFact | None:
        cancel = child.cancel
        session = self._links.of(child.intent.account_id)
        if cancel is None or child.cancel_sent or self._look.lease_is_over:
            return None
        outcome = self._held(child) or (
            _DOWN if session is None else session.cancel(order_ref(child), cancel.cl_ord_id)
        )
        if isinstance(outcome, NotSent):
            self._want(child, outcome)
            return None
        self.on_left(child.intent.account_id, cancel.cl_ord_id, outcome.at_ns, exit_=True)
        return SentFact(cancel.cl_ord_id, 0, 0, 0, orig_cl_ord_id=child.intent.cl_ord_id)

    def _replace(self, child: ChildOrder) -> SentFact | None:
        wanted = child.replace
        if wanted is None or child.replace_sent or not self._may_move(child):
            return None
        session = self._links.of(child.intent.account_id)
        numbers = NewNumbers(wanted.qty, wanted.price, wanted.stop_price, wanted.trail_offset)
        outcome: Sent | NotSent | None = (
            self._barred(child, wanted) or self._too_soon(child, wanted) or self._held(child)
        )
        if outcome is None:
            outcome = (
                _DOWN if session is None else session.replace(order_ref(child), numbers, wanted.cl_ord_id)
            )
        if isinstance(outcome, NotSent):
            self._want(child, outcome)
            return None
        intent = child.intent
        self.on_left(intent.account_id, wanted.cl_ord_id, outcome.at_ns, exit_=intent.reduce_only)
        self._moved(child, outcome.at_ns)
        return SentFact(wanted.cl_ord_id, 0, 0, 0, orig_cl_ord_id=child.intent.cl_ord_id)

    def _held(self, child: ChildOrder) -> NotSent | None:
        """While the account's breaker is open requests leave one by one, like exits: those first, then cancels, moves
        last (R-054, R-060)."""
        breakers, account_id = self._look.breakers, child.intent.account_id
        if account_id not in breakers.shut:
            return None
        if self.exits_wait(account_id) or (child.cancel is None and self.cancels_wait(account_id)):
            return _NEXT_TURN
        return breakers.hold(account_id, child.intent.cl_ord_id)

    def cancels_wait(self, account_id: str) -> bool:
        """A cancel could not leave yet."""
        found = (self._state.book.orders.get(name) for name in self._wanting.get(account_id, ()))
        return any(child is not None and child.cancel is not None for child in found)

    def _too_soon(self, child: ChildOrder, wanted: ReplaceIntent) -> NotSent | None:
        """Moves of a price coalesce: while one waits its turn the newest takes its place (R-063).

        A change of size never waits: a stop must fit what is held.
        """
        moved_ns = self._moved_ns.get(child.intent.cl_ord_id)
        account = self._state.account(child.intent.account_id)
        if moved_ns is None or wanted.qty is not None or account is None:
            return None
        left_ns = moved_ns + account.limits.move_gap_ms * _NS_PER_MS - self._state.clock.monotonic_ns()
        return NotSent("busy", "the order was moved just now", left_ns / 1e9) if left_ns > 0 else None

    def _wanted_since(self, child: ChildOrder) -> int:
        """When a move of it was first wanted, of those that have not left: a stop since then stops it."""
        since = self._wanted_ns.setdefault(child.intent.cl_ord_id, self._state.clock.monotonic_ns())
        if len(self._wanted_ns) > MOVED_MAX:
            self._wanted_ns.popitem(last=False)
        return since

    def _barred(self, child: ChildOrder, wanted: ReplaceIntent) -> NotSent | None:
        """A move of an entry needs what an entry needs (I-06, R-092); one that may never leave ends its order."""
        reason = self._look.move_refusal(child, wanted, self._wanted_since(child))
        if reason is None:
            return None
        if reason not in NOT_YET:
            self.on_barred(child, reason)
        return NotSent("busy", reason, LOOK_AGAIN_S)

    def _moved(self, child: ChildOrder, at_ns: int) -> None:
        name = child.intent.cl_ord_id
        self._wanted_ns.pop(name, None)
        self._moved_ns[name] = at_ns
        self._moved_ns.move_to_end(name)
        if len(self._moved_ns) > MOVED_MAX:
            self._moved_ns.popitem(last=False)

    def _may_move(self, child: ChildOrder) -> bool:
        """Past the lease only protective orders may be moved (R-073)."""
        if child.intent.reduce_only:
            return not self._look.lease_is_over
        return self._look.holds_lease

    def _want(self, child: ChildOrder, outcome: NotSent) -> None:
        if outcome.reason in WAITS:
            self._wanting.setdefault(child.intent.account_id, {})[child.intent.cl_ord_id] = None
            self._retry_later(outcome.retry_after_s)

    def retry(self, account_id: str) -> None:
        """What could not leave at this account, once more; cancels first."""
        wanting = self._wanting.pop(account_id, None)
        if wanting is None:
            return  # nearly always
        found = [child for name in wanting if (child := self._state.book.orders.get(name)) is not None]
        for child in sorted(found, key=lambda child: child.cancel is None):
            self.send(child)

    def retry_all(self) -> None:
        """The same for all accounts."""
        for account_id in list(self._wanting):
            self.retry(account_id)
