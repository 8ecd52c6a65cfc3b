"""A flatten: the mark it leaves in the book, and what one read of the broker means for it (R-094, R-095, R-102).

Pure. An account is flattened by one run, whoever asked; the mark stands beside whatever else stops its entries and
outlives a crash. Each contract is judged on its own: it is closed by what the broker shows, and only while no order of
ours may still close the same, be it the flatten's own or a leader's exit that had left before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.executions import ExecutionReport
from kopitra.domain.loss_ladder import Standing
from kopitra.domain.measuring import Measure

#: seconds between two reads of an account; the last one repeats while nothing changes
READ_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0)
#: seconds that an order of ours may take before it is canceled; a flatten's own close that follows one that was too
#: slow gets the next number, so that no broker is too slow for ever
PATIENCE_S: Final = (5.0, 10.0, 20.0)
#: nanoseconds, more than a century: the patience with a close of which no list can tell that it is not there
UNTIL_KNOWN_NS: Final = 1 << 62
#: seconds between two slow tries of a flatten that failed, by how many were made; the last one repeats
AGAIN_PAUSES_S: Final = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
#: slow tries of one flatten: more than three days, which is longer than markets stay closed
AGAIN_MAX: Final = 1_000

#: why entries stop while it runs, and why an order of a leader did not leave: the flatten closes what it would have
UNDER_WAY: Final = "a flatten is under way"
LEFT_TO_FLATTEN: Final = "flattening"

#: contract -> signed quantity
Held = tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Flattening:
    """An account that is being flattened, or whose flatten failed and was neither lifted nor ended since."""

    flatten_id: str
    who: str
    failed: bool = False
    detail: str = ""
    #: it is not tried again but by a person, or while a loss lock stands
    given_up: bool = False

    @property
    def sentence(self) -> str:
        """Why entries of the account stop."""
        if not self.failed:
            return UNDER_WAY
        again = "" if self.given_up else "; until then it is tried again slowly"
        return f"a flatten has failed ({self.detail}): close the account at the broker, then lift this block{again}"


def is_flattening(flattens: Mapping[str, Flattening], account_id: str) -> bool:
    """A run closes the account now: it alone sends orders there."""
    mark = flattens.get(account_id)
    return mark is not None and not mark.failed


def stopped_by(blocked: Mapping[str, str], flattens: Mapping[str, Flattening], account_id: str) -> str:
    """Why entries of an account are stopped; "" when they are not. A fault and a flatten stand beside each other."""
    mark = flattens.get(account_id)
    reasons = (blocked.get(account_id, ""), mark.sentence if mark is not None else "")
    return "; ".join(reason for reason in reasons if reason)


def is_locked(standing: Standing | None, measure: Measure | None) -> bool:
    """A loss lock of the present day and start stands."""
    return (
        standing is not None and measure is not None and standing.rung == "locked" and standing.holds(measure)
    )


class Pace:
    """When to read again: soon after something has changed, more and more slowly while nothing does."""

    def __init__(self) -> None:
        self._seen: object = None
        self._step = 0

    def pause_s(self, picture: object) -> float:
        """Seconds until the next read, given what this one showed (None: it failed)."""
        self._step = 0 if picture != self._seen else min(self._step + 1, len(READ_PAUSES_S) - 1)
        self._seen = picture
        return READ_PAUSES_S[self._step]


class Ours(NamedTuple):
    """An order of ours that is not over by the book and may have reached the broker."""

    cl_ord_id: str
    contract: str
    #: the broker's id of it; None until the broker has answered
    order_id: str | None
    #: a close: of the flatten, or a leader's exit
    closes: bool
    #: no byte has left: it neither ages nor stands in any list
    unsent: bool
    #: monotonic; when the run knew of it first, and how long it may take
    since_ns: int
    patience_ns: int

    def is_young(self, now_ns: int) -> bool:
        """It may still do what it was sent for, whatever a list says."""
        return self.unsent or now_ns - self.since_ns < self.patience_ns


class Shown(NamedTuple):
    """One whole read."""

    held: Mapping[str, Decimal]
    working: tuple[ExecutionReport, ...]
    #: it began after the newest execution that we know of, and longer after it than lists lag
    settled: bool


class Step(NamedTuple):
    """What a read asks for."""

    #: nothing is held, nothing works, nothing of ours may still come
    is_flat: bool
    cancels: tuple[ExecutionReport, ...]
    #: what may be closed now
    closes: Held
    #: what is held by a read that may be believed; the others wait for the next one
    believed: Held
    #: what the pace goes by: the flatten's own closes are no news
    picture: object
    #: closes at work, in words for people
    waits: str = ""
    #: the list of orders did not read
    unread: bool = False


def judge(shown: Shown, ours: Sequence[Ours], counted: Mapping[str, Decimal], now_ns: int) -> Step:
    """One read, beside what we sent and what executions add up to (`counted`, contract -> signed)."""
    match_of = {o.order_id: o for o in ours if o.order_id is not None} | {o.cl_ord_id: o for o in ours}
    listed = [
        (report, match_of.get(report.order_id) or match_of.get(report.cl_ord_id or ""))
        for report in shown.working
    ]
    nameless = {
        o.contract for o in ours if o.closes and o.order_id is None and not o.unsent and o.is_young(now_ns)
    }
    cancels = tuple(
        report for report, own in listed if not _is_left_alone(report, own, nameless, now_ns)
    )  # fmt: skip
    there = {own.cl_ord_id for _, own in listed if own is not None}
    busy = {o.contract: o for o in ours if o.closes and (o.is_young(now_ns) or o.cl_ord_id in there)}
    doubted = {
        c
        for c in shown.held.keys() | counted.keys()
        if not shown.settled and shown.held.get(c, 0) != counted.get(c, 0)
    }
    believed = tuple((c, qty) for c, qty in sorted(shown.held.items()) if qty and c not in doubted)
    is_flat = not (
        doubted or shown.working or any(shown.held.values()) or any(o.is_young(now_ns) for o in ours)
    )
    closes = tuple((c, qty) for c, qty in believed if c not in busy)
    held = tuple(sorted((c, qty) for c, qty in shown.held.items() if qty))
    own = {report.order_id for report, child in listed if child is not None and child.closes}
    picture = (held, frozenset(r.order_id for r in shown.working) - own)
    waits = ", ".join(f"{o.cl_ord_id} works in {c}" for c, o in sorted(busy.items()))
    return Step(is_flat, cancels, closes, believed, picture, waits)


def _is_left_alone(report: ExecutionReport, own: Ours | None, nameless: set[str], now_ns: int) -> bool:
    """A young close of ours; also one that the broker lists under a name of its own before it has answered."""
    if own is not None:
        return own.closes and own.is_young(now_ns)
    return report.symbol in nameless and report.ord_type in (None, "market")
