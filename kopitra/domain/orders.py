"""Intents, and the life of a child order: one table of transitions, illegal ones fail loudly (R-001).

A *child* is one order for one follower made from one signal. An intent is what we decided to send; it is durable
before a byte leaves. The states say what is *known*: `claimed` means bytes may leave at any time from now on,
`in_doubt` means they may have reached the broker and nobody knows what it did with them.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import ExecType, ExecutionReport
from kopitra.domain.signals import OrdType, Side, TimeInForce

Role = Literal["entry", "exit", "stop", "target"]
Lane = Literal["flatten", "exit", "protective", "entry", "status"]
#: lanes of one account, most urgent first
LANES: Final[tuple[Lane, ...]] = ("flatten", "exit", "protective", "entry", "status")

ZERO: Final = Decimal(0)


class OrderIntent(NamedTuple):
    """One order we decided to send for one account.

    `after` names children that must be finished first: cancels that must be confirmed before a close is sized from
    what is really held (R-038), or the entry a protective order belongs to (`parent`). An intent with a non-empty
    `after` is *held* (planned); the others are claimed by the plan's own commit. `oco`: when one child of the group
    fills, the others are canceled. `reduce_only` intents are capped to the holding again right before the write.
    """

    cl_ord_id: str
    list_id: str
    account_id: str
    leader: str
    leg: str
    role: Role
    symbol: str
    side: Side
    qty: Decimal
    ord_type: OrdType = "market"
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None
    time_in_force: TimeInForce = "day"
    expire_at: datetime | None = None
    reduce_only: bool = False
    rule_id: str = ""
    rule_version: int = 0
    leader_order_id: str | None = None
    after: tuple[str, ...] = ()
    parent: str | None = None
    oco: str | None = None
    #: distance in points from the entry's fill price, for protective orders whose price is not known yet
    offset: Decimal | None = None
    #: milliseconds the follower's rule wants to wait before the write
    delay_ms: int = 0
    #: close with the broker's own command for it, where there is one: the whole position in the contract
    native: bool = False

    @property
    def lane(self) -> Lane:
        """The lane inside the account's queue."""
        if self.leader == "":
            return "flatten"
        if self.role == "entry":
            return "entry"
        return "exit" if self.role == "exit" else "protective"


class CancelIntent(NamedTuple):
    """Cancel a working child (`orig_cl_ord_id`) of ours."""

    cl_ord_id: str
    list_id: str
    account_id: str
    orig_cl_ord_id: str
    #: children that may not be canceled before (a replace in flight); empty for nearly all
    reason: str = ""

    @property
    def lane(self) -> Lane:
        """Cancels travel with the exits."""
        return "exit"


class ReplaceIntent(NamedTuple):
    """Give a working child new numbers; None keeps the present value."""

    cl_ord_id: str
    list_id: str
    account_id: str
    orig_cl_ord_id: str
    qty: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None

    @property
    def lane(self) -> Lane:
        """Moves of working orders travel with the protective orders."""
        return "protective"

    def only_shrinks(self, qty: Decimal) -> bool:
        """It makes an order of `qty` no larger, and leaves its price where it is."""
        stays = self.price is None and self.stop_price is None and self.trail_offset is None
        return stays and self.qty is not None and self.qty <= qty


State = Literal[
    "planned", "claimed", "acked", "working", "partial", "filled", "canceled", "expired", "rejected",
    "in_doubt", "not_placed", "parked", "skipped",
]  # fmt: skip
Event = Literal[
    "claim", "skip", "ack", "work", "fill", "complete", "cancel", "expire", "reject", "doubt", "absent", "park",
    "hold",
]  # fmt: skip

TERMINAL: Final[frozenset[State]] = frozenset(
    {"filled", "canceled", "expired", "rejected", "not_placed", "skipped"}
)
#: nobody knows what became of it
DOUBTFUL: Final[frozenset[State]] = frozenset({"in_doubt", "parked"})
#: the broker has it, and has said so
ACKNOWLEDGED: Final[frozenset[State]] = frozenset({"acked", "working", "partial"})
#: the broker has it, or may have it
LIVE: Final[frozenset[State]] = frozenset({"claimed", "acked", "working", "partial", "in_doubt", "parked"})

# What an authoritative answer does to an order whose placement is open (claimed), doubtful or wrongly thought absent.
_ANSWERS: Final[dict[Event, State]] = {
    "ack": "acked",
    "work": "working",
    "fill": "partial",
    "complete": "filled",
    "cancel": "canceled",
    "expire": "expired",
    "reject": "rejected",
}

# The broker has spoken, or a person or a proof has settled it.
_KNOWN: Final[tuple[State, ...]] = (
    "acked", "working", "partial", "filled", "canceled", "expired", "rejected", "not_placed", "parked",
)  # fmt: skip

#: every legal move; anything else raises IllegalTransition
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    ("planned", "claim"): "claimed",
    ("planned", "skip"): "skipped",
    # A predecessor may have let it go by an exit file that nobody can read; a read shows that it did not.
    ("planned", "doubt"): "in_doubt",
    ("in_doubt", "hold"): "planned",
    ("parked", "hold"): "planned",
    # only the living process that knows it wrote no byte may skip a claimed child
    ("claimed", "skip"): "skipped",
    ("claimed", "doubt"): "in_doubt",
    **{("claimed", e): s for e, s in _ANSWERS.items()},
    **{("in_doubt", e): s for e, s in _ANSWERS.items()},
    ("in_doubt", "doubt"): "in_doubt",
    # A doubt that comes after evidence is no doubt (the answer of a request was lost, the stream had told already);
    # and a fact that is journalled twice after an unclear commit must change nothing.
    **{(s, "doubt"): s for s in _KNOWN},
    ("skipped", "skip"): "skipped",
    ("in_doubt", "absent"): "not_placed",
    ("in_doubt", "park"): "parked",
    **{("parked", e): s for e, s in _ANSWERS.items()},
    ("parked", "absent"): "not_placed",
    # the proof of absence was wrong: evidence wins, the caller raises an alert
    **{("not_placed", e): s for e, s in _ANSWERS.items()},
    # the same order again under the same id, where the broker itself refuses a double
    ("not_placed", "claim"): "claimed",
    ("acked", "ack"): "acked",
    ("acked", "work"): "working",
    ("acked", "fill"): "partial",
    ("acked", "complete"): "filled",
    ("acked", "cancel"): "canceled",
    ("acked", "expire"): "expired",
    # an accepted order can still be refused later (exchange, risk at the broker)
    ("acked", "reject"): "rejected",
    ("working", "ack"): "working",
    ("working", "work"): "working",
    ("working", "fill"): "partial",
    ("working", "complete"): "filled",
    ("working", "cancel"): "canceled",
    ("working", "expire"): "expired",
    ("working", "reject"): "rejected",
    ("partial", "ack"): "partial",
    ("partial", "work"): "partial",
    ("partial", "fill"): "partial",
    ("partial", "complete"): "filled",
    ("partial", "cancel"): "canceled",
    ("partial", "expire"): "expired",
    ("partial", "reject"): "canceled",
    ("filled", "ack"): "filled",
    ("filled", "work"): "filled",
    ("filled", "complete"): "filled",
    # a replace to a larger quantity that was reported after the fills it made possible
    ("filled", "fill"): "partial",
    ("filled", "cancel"): "filled",
    ("filled", "expire"): "filled",
    # late news of an order that is over: statuses change nothing, fills are legal and move the position
    **{(s, e): s for s in ("canceled", "expired") for e in ("ack", "work", "cancel", "expire", "reject", "fill")},
    **{("rejected", e): "rejected" for e in ("ack", "work", "cancel", "expire", "reject")},
    ("rejected", "fill"): "canceled",
    ("canceled", "complete"): "filled",
    ("expired", "complete"): "filled",
    ("rejected", "complete"): "filled",
}  # fmt: skip


class IllegalTransition(KopitraError):
    """The broker (or we) said something of an order that its state does not allow: stop entries for the account."""

    code = "illegal-transition"


def next_state(state: State, event: Event) -> State:
    """The state after `event`; raises IllegalTransition."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(
            f"an order that is {state} cannot {event}; entries of the account stop until a person has looked."
        ) from None


@dataclass(slots=True)
class ChildOrder:
    """A child as folded from the journal. Mutable: only the fold and the engine's single writer touch it."""

    intent: OrderIntent
    state: State
    qty: Decimal
    #: what the plan (or the leader's newest move) gave it; fills of its entry decide how much of that is due
    planned_qty: Decimal = ZERO
    #: travels with its entry in one request: the broker itself resizes it and ends its sibling
    attached: bool = False
    #: cancels and replaces asked for so far: each gets a name of its own
    requests: int = 0
    order_id: str | None = None
    cum_qty: Decimal = ZERO
    #: sum of quantity x price of the fills, for the average price
    turnover: Decimal = ZERO
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None
    reason: str = ""
    #: the cancel that is wanted; it leaves once the broker's order id is known
    cancel: CancelIntent | None = None
    #: the newest numbers that are wanted; older moves that have not left yet are dropped (R-032)
    replace: ReplaceIntent | None = None
    #: the move that left last, until the broker says that it was made
    asked: ReplaceIntent | None = None
    #: a cancel or replace has left and is not answered yet
    cancel_sent: bool = False
    replace_sent: bool = False
    #: the oldest move that is wanted or has left, and of which nothing has arrived since; "": none
    moving: str = ""
    #: cancels that the broker refused, or whose fate nobody knows; it is to go all the same
    cancels_failed: int = 0
    #: moves in a row that the broker refused, or whose fate nobody knows
    moves_failed: int = 0
    #: an exit that could not be found: another close stands in for it, and nothing more is expected of it (R-012)
    superseded: bool = False
    #: requests of it that the way out counts
    way_out: int = 0
    #: when the leader acted, for orders of a plan; None for what followed later
    acted_at: datetime | None = None
    #: when that was accepted, by our clock
    accepted_at: datetime | None = None
    #: hop name -> nanoseconds since the signal was received
    hops: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def unsent(self) -> bool:
        """No byte has left; once a cancel is wanted none will."""
        return self.state == "planned" or (self.state == "claimed" and not self.hops)

    @property
    def cancel_requested(self) -> bool:
        """It is on its way out."""
        return self.cancel is not None

    @property
    def is_at_market(self) -> bool:
        """It fills as soon as the broker has it."""
        certain = self.state not in DOUBTFUL
        return certain and (self.intent.role == "exit" or self.intent.ord_type == "market")

    @property
    def is_triggered(self) -> bool:
        """A protective stop that fills at the market: no cancel is sure to catch the rest."""
        intent = self.intent
        return intent.role == "stop" and intent.ord_type in ("stop", "trailing_stop") and self.cum_qty > 0

    @property
    def leaves_qty(self) -> Decimal:
        """What can still fill, as far as it is counted on."""
        return ZERO if self.state in TERMINAL or self.superseded else self.qty - self.cum_qty

    @property
    def wanted_qty(self) -> Decimal:
        """What can still fill once a move under way has arrived."""
        return ZERO if self.state in TERMINAL else max(ZERO, self.planned_qty - self.cum_qty)

    def coming(self, doubts: bool = False) -> Decimal:
        """The same as far as it can be counted on: nothing of what was to be canceled, and without `doubts` nothing
        while nobody knows whether the broker has it (R-013)."""
        if self.cancels_failed or (not doubts and self.state in DOUBTFUL):
            return ZERO
        return self.wanted_qty

    @property
    def avg_px(self) -> Decimal | None:
        """Average fill price, None before the first fill."""
        return self.turnover / self.cum_qty if self.cum_qty else None


def event_of(report: ExecutionReport, order: ChildOrder) -> Event | None:
    """The transition a report asks for; None for reports that tell of requests, not of the order."""
    match report.exec_type:
        case "trade":
            if report.last_qty is None:
                return None
            return "complete" if order.cum_qty + report.last_qty >= order.qty else "fill"
        case "replaced":
            grown = order.state == "filled" and (report.order_qty or order.qty) > order.cum_qty
            return "fill" if grown else "work"
        case "order_status":
            # Its size at the end, where the broker says it: a move whose answer nobody heard may have changed it.
            size = order.qty if report.order_qty is None else report.order_qty
            if report.ord_status == "filled" and 0 < size <= order.cum_qty:
                return "complete"
            return _STATUS_EVENTS[report.ord_status]
        case told:
            return _EVENTS[told]


_EVENTS: Final[dict[ExecType, Event | None]] = {
    "pending_new": "ack",
    "suspended": "ack",
    "new": "work",
    "canceled": "cancel",
    "rejected": "reject",
    "expired": "expire",
    "pending_cancel": None,
    "pending_replace": None,
    "cancel_rejected": None,
    "replace_rejected": None,
    "trade_cancel": None,
}
# A status alone never fills: executions do. "filled" without its executions keeps the order working until they come.
_STATUS_EVENTS: Final[dict[str, Event | None]] = {
    "pending_new": "ack",
    "suspended": "ack",
    "new": "work",
    "partially_filled": "work",
    "filled": "work",
    "pending_cancel": None,
    "pending_replace": None,
    "canceled": "cancel",
    "rejected": "reject",
    "expired": "expire",
}
