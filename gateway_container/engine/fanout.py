"""The fan-out: after the commit every approved order goes to its account's session, in the same turn of the loop.

Nothing waits between accounts. Inside an account the order is kept by lanes; what cannot be written now (no free
connection, follower's delay, session away for an exit) waits in a bounded queue. Each write is preceded by the last
look: lease, kill switch, deadline, what the child has become meanwhile, and for exits what is really held.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway_container.engine.admission import Admission, followers_of
from gateway_container.engine.assertions import Assertions
from gateway_container.engine.brake import Brake
from gateway_container.engine.breakers import Breakers
from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.last_look import HELD_BACK, SUPERSEDED, LastLook
from gateway_container.engine.log import Log
from gateway_container.engine.queue import AccountQueue, Place, Stamp
from gateway_container.engine.requests import WAITS, Requests
from gateway_container.engine.state import State
from gateway_container.engine.written import Links, sent_fact
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import OrderNotSent, OrdersSent, SentFact
from kopitra.domain.orders import OrderIntent
from kopitra.ports import Encoded, NotSent, OrderUnknown, Sent

#: milliseconds from acceptance in which an entry must be written (R-048)
DEADLINE_MS: Final = 2_500
#: milliseconds that a protective order waits for the fresh price its broker needs
STALE_WAIT_MS: Final = 5_000
#: ids of written orders that are remembered
WRITTEN_MAX: Final = 100_000
#: seconds after which orders that wait for a session or for budget are tried again
RETRY_S: Final = 0.05
#: (intent, reason, detail): an order came to nothing before a byte left
OnNotSent = Callable[[OrderIntent, str, str], None]


class Fanout:
    """Owns the account queues."""

    def __init__(self, state: State, log: Log, links: Links, look: LastLook) -> None:
        self._state = state
        self._log = log
        self._links = links
        self.look = look
        self.brake = Brake(state)
        self.asserts = Assertions(state)
        self.requests = Requests(state, log, links, look, self._retry_later)
        self.requests.on_left = self.asserts.left
        self.requests.exits_wait = self._exits_wait
        self._admission = Admission(links)
        #: account -> entries that were not written in time
        self.missed: dict[str, int] = {}
        self._queues: dict[str, AccountQueue] = {}
        self._timer: asyncio.TimerHandle | None = None
        #: orders that this process wrote, oldest leave first
        self._written: OrderedDict[str, None] = OrderedDict()  # finds its first key in constant time
        #: orders whose follower's delay is running
        self._delayed: dict[str, Place] = {}
        self._on_not_sent: OnNotSent | None = None
        #: takes an account whose session raised where it must not (R-020), and its order that may have left
        self.failed: Failed = uncontained
        self.on_unknown: Callable[[OrderUnknown], None] = lambda _event: None

    def attach(self, on_not_sent: OnNotSent) -> None:
        """Who hears of orders that were not sent; bracket children go with their entry."""
        self._on_not_sent = on_not_sent

    # before the commit -------------------------------------------------------------------------------------

    def prepare(self, plan: FanoutPlan, stamp: Stamp) -> list[Place]:
        """Make the bytes of everything the plan sends at once, while its commit is in flight."""
        places: list[Place] = []
        for leg in plan.legs:
            if leg.orders:
                places += self.encode([approved.intent for approved in leg.orders], stamp)
        return places

    def encode(self, intents: Sequence[OrderIntent], stamp: Stamp) -> list[Place]:
        """Places for the intents of one account that are not held."""
        ready = [intent for intent in intents if not intent.after]
        places: list[Place] = []
        for intent in ready:
            if intent.parent is not None and any(p.cl_ord_id == intent.parent for p in ready):
                continue
            attached = tuple(c for c in ready if c.parent == intent.cl_ord_id) if len(ready) > 1 else ()
            deadline = stamp.received_ns + DEADLINE_MS * 1_000_000 + intent.delay_ms * 1_000_000
            places.append(
                Place(
                    intent,
                    attached,
                    self._bytes(intent, attached),
                    stamp,
                    0 if intent.reduce_only else deadline,
                    followers_of(intents, intent) if len(ready) < len(intents) else 0,
                )
            )
        return places

    def _bytes(self, intent: OrderIntent, attached: tuple[OrderIntent, ...]) -> Encoded | NotSent:
        session = self._links.of(intent.account_id)
        if session is None:
            return NotSent("session_down", "no session")
        try:
            made = session.encode(intent, attached)
            if isinstance(made, NotSent) and made.reason == "not_supported" and intent.time_in_force == "gtc":
                # Where nothing rests longer than a session, an order for the session is better than none.
                return session.encode(intent._replace(time_in_force="day"), attached)
        except Exception as error:  # noqa: BLE001 - one account's fault is not its neighbours'
            self.failed(intent.account_id, "making an order's bytes", error)
            return NotSent("not_supported", f"its session raised {type(error).__name__}")
        return made

    # after the commit --------------------------------------------------------------------------------------

    def dispatch(self, places: Sequence[Place], durable_ns: int) -> None:
        """Write everything that can be written now; queue the rest."""
        if len(places) > 1 and (declined := self._admission.judge(places)):
            out = {one.place.intent.cl_ord_id for one in declined}  # asked only, never walked
            places = [place for place in places if place.intent.cl_ord_id not in out]
            for one in declined:
                self._not_sent(one.place, "rate_budget", one.why)
        sent: list[SentFact] = []
        list_id = ""
        for place in places:
            place.stamp.durable_ns = durable_ns
            list_id = place.intent.list_id
            if place.intent.delay_ms:
                self._delay(place)
                continue
            queue = self._queues.get(place.intent.account_id)
            # A flatten's close is tried at once: it must not stand behind an exit that waits out a penalty.
            if queue is not None and queue.waiting and place.intent.leader:
                self._push(queue, place)
                continue
            self._attempt(place, sent)
        if sent:
            self._log.note(self._workspace_of(sent[0]), OrdersSent(list_id, tuple(sent)))

    def _workspace_of(self, fact: SentFact) -> str:
        child = self._state.book.orders.get(fact.orig_cl_ord_id or fact.cl_ord_id)
        account = self._state.account(child.intent.account_id) if child is not None else None
        return account.workspace if account is not None else ""

    def _delay(self, place: Place) -> None:
        self._delayed[place.intent.cl_ord_id] = place
        asyncio.get_running_loop().call_later(place.intent.delay_ms / 1000, self._waited, place)

    def _waited(self, place: Place) -> None:
        if self._delayed.pop(place.intent.cl_ord_id, None) is not None:
            place.intent = place.intent._replace(delay_ms=0)
            self.dispatch([place], place.stamp.durable_ns)

    def _attempt(self, place: Place, sent: list[SentFact]) -> bool:
        """Last look and write. False when the order has to wait (it is queued then)."""
        now_ns = self._state.clock.monotonic_ns()
        qty = place.intent.qty
        refusal = (
            self._repeated(place.intent) or self.look.refusal(place, now_ns) or self.asserts.refusal(place)
        )
        if refusal == SUPERSEDED:
            return True
        if refusal == HELD_BACK:
            self._push(self._queue(place.intent.account_id), place)
            self._retry_later(RETRY_S)
            return False
        if refusal is not None:
            self._not_sent(place, refusal, "the last look before the write")
            return True
        if place.intent.qty != qty:
            place.encoded = self._bytes(place.intent, ())
        try:
            outcome = self._write(place)
        except Exception as error:  # noqa: BLE001 - the same
            self._may_have_left(place, now_ns, error)
            return True
        if isinstance(outcome, Sent):
            self.asserts.wrote(place, outcome.at_ns)
            self._remember(place.intent.cl_ord_id)
            for child in place.attached:
                self._remember(child.cl_ord_id)
            sent.append(sent_fact(place, outcome))
            sent.extend(sent_fact(place, outcome, child.cl_ord_id) for child in place.attached)
            self.brake.wrote(place.intent.account_id, 1 + len(place.attached))
            return True
        if outcome.reason in WAITS and (place.intent.reduce_only or outcome.reason == "busy"):
            if outcome.reason == "stale" and now_ns - place.stamp.durable_ns > STALE_WAIT_MS * 1_000_000:
                self._not_sent(place, outcome.reason, outcome.text)
                return True
            self._push(self._queue(place.intent.account_id), place)
            self._retry_later(outcome.retry_after_s)
            return False
        self._not_sent(place, outcome.reason, outcome.text)
        return True

    def _may_have_left(self, place: Place, now_ns: int, error: Exception) -> None:
        """The session raised in its write: nobody knows whether bytes left, so each order of it is in doubt."""
        self.asserts.wrote(place, now_ns)
        why = f"its session raised {type(error).__name__} in the write"
        self.failed(place.intent.account_id, "writing an order", error)
        for intent in (place.intent, *place.attached):
            self._remember(intent.cl_ord_id)
            self.on_unknown(OrderUnknown(intent.account_id, intent.cl_ord_id, why))

    def _repeated(self, intent: OrderIntent) -> str | None:
        """Orders out never exceed plan in: what was written is not written again, whoever asks (I-01, I-05)."""
        if intent.cl_ord_id not in self._written:
            return None
        self.brake.repeated(intent)
        return SUPERSEDED

    def once_more(self, cl_ord_id: str) -> None:
        """It was proved never to have arrived, and a durable decision sends it again under its id (R-011)."""
        self._written.pop(cl_ord_id, None)
        if (child := self._state.book.orders.get(cl_ord_id)) is not None:
            self.asserts.once_more(child.intent)

    def _remember(self, cl_ord_id: str) -> None:
        self._written[cl_ord_id] = None
        if len(self._written) > WRITTEN_MAX:
            self._written.popitem(last=False)

    def _write(self, place: Place) -> Sent | NotSent:
        session = self._links.of(place.intent.account_id)
        if session is None:
            return NotSent("session_down", "no session")
        if isinstance(place.encoded, NotSent):
            if place.encoded.reason not in ("session_down", "stale"):
                return place.encoded
            place.encoded = self._bytes(place.intent, place.attached)
            if isinstance(place.encoded, NotSent):
                return place.encoded
        # Entries were refused by the last look, and a flatten has a pace of its own.
        if (breakers := self.look.breakers).shut and place.intent.leader:
            held = self._turn(place.intent, breakers)
            if held is not None:
                return held
        return session.submit(place.encoded, place.intent.reduce_only)

    def _turn(self, intent: OrderIntent, breakers: Breakers) -> NotSent | None:
        """One order or request a second while the account's breaker is open: cancels before new protection (R-060)."""
        account_id = intent.account_id
        protects = intent.lane == "protective" and account_id in breakers.shut
        if protects and self.requests.cancels_wait(account_id):
            return NotSent("busy", "the account's breaker is open, and a cancel waits", RETRY_S)
        return breakers.hold(account_id, intent.cl_ord_id)

    def _exits_wait(self, account_id: str) -> bool:
        queue = self._queues.get(account_id)
        return queue is not None and queue.exits_wait

    def _not_sent(self, place: Place, reason: str, detail: str) -> None:
        self.asserts.not_sent(place)
        if reason == "deadline":
            self.missed[place.intent.account_id] = self.missed.get(place.intent.account_id, 0) + 1
        account = self._state.account(place.intent.account_id)
        workspace = account.workspace if account is not None else ""
        for intent in (place.intent, *place.attached):
            self._log.note(workspace, OrderNotSent(intent.cl_ord_id, intent.account_id, reason, detail))
        if self._on_not_sent is not None:
            self._on_not_sent(place.intent, reason, detail)

    # waiting orders ----------------------------------------------------------------------------------------

    def _queue(self, account_id: str) -> AccountQueue:
        queue = self._queues.get(account_id)
        if queue is None:
            queue = self._queues[account_id] = AccountQueue()
        return queue

    def _push(self, queue: AccountQueue, place: Place) -> None:
        displaced = queue.push(place)
        if displaced is not None:
            self._not_sent(displaced, "queue_full", "the account's queue is full")
        if not place.intent.reduce_only:
            left_s = (place.deadline_ns - self._state.clock.monotonic_ns()) / 1e9
            self._wake_in(max(0.0, left_s))

    def _retry_later(self, after_s: float) -> None:
        self._wake_in(max(RETRY_S, after_s))

    def _wake_in(self, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() <= loop.time() + after_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(after_s, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self.drain(list(self._queues))
        self.requests.retry_all()

    def drain(self, account_ids: Iterable[str]) -> None:
        """Write what waits at these accounts: a connection is free, a session is live, or time has passed."""
        now_ns = self._state.clock.monotonic_ns()
        for account_id in account_ids:
            shut = account_id in self.look.breakers.shut  # closes go first then
            if not shut:
                self.requests.retry(account_id)
            queue = self._queues.get(account_id)
            if queue is not None and queue.waiting:
                self._drain_one(queue, now_ns)
            if shut:
                self.requests.retry(account_id)

    def _drain_one(self, queue: AccountQueue, now_ns: int) -> None:
        for late in queue.overdue(now_ns):
            self._not_sent(late, "deadline", f"not written within {DEADLINE_MS} ms")
        sent: list[SentFact] = []
        for _ in range(queue.waiting):
            place = queue.pop()
            if place is None or not self._attempt(place, sent):
                break
        if sent:
            self._log.note(self._workspace_of(sent[0]), OrdersSent("", tuple(sent)))

    def knows(self, cl_ord_id: str) -> bool:
        """True when this process handed the order's bytes to a socket, or still means to."""
        if cl_ord_id in self._written:
            return True
        waiting = (place for queue in self._queues.values() for place in queue.places())
        return any(place.carries(cl_ord_id) for place in (*self._delayed.values(), *waiting))

    def withdraw(self, account_id: str, cl_ord_id: str) -> bool:
        """Take back an order that waits for its write; False when it does not wait (any more)."""
        queue = self._queues.get(account_id)
        place = queue.take_out(cl_ord_id) if queue is not None else None
        if place is None:
            return False
        self._not_sent(place, "withdrawn", "what was to be closed has changed")
        return True

    def queued(self, account_id: str) -> int:
        """Orders of one account that wait."""
        queue = self._queues.get(account_id)
        return 0 if queue is None else queue.waiting

    @property
    def waiting(self) -> int:
        """Orders waiting in all queues."""
        return sum(queue.waiting for queue in self._queues.values())

    def stop(self) -> None:
        """No more retries; what waits stays unsent and is told so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for place in self._delayed.values():
            self._not_sent(place, "stopping", "the gateway stopped before the write")
        self._delayed.clear()
        for queue in self._queues.values():
            while (place := queue.pop()) is not None:
                self._not_sent(place, "stopping", "the gateway stopped before the write")
