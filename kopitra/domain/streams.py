"""A leader's stream: what its sender has told, by the sender's own numbers and the leader's own order ids.

Signals come late, twice (two copies of an EA, each with keys of its own) or not at all. Folded from the journal, so
that a restart remembers it; pure, so that a replay judges alike. Every memory has a bound; what leaves it is old, and
old entries die of their age (R-068).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple, TypeVar

from kopitra.domain.signals import Signal, StopLoss, TakeProfit

#: entries of one leader that are remembered to recognise a second telling
TOLD_MAX: Final = 2_000
#: closed leader orders that are remembered
TOMBSTONES_MAX: Final = 2_000
#: moves of orders that nobody has told of yet
PARKED_MAX: Final = 100
#: missing numbers that are remembered
MISSING_MAX: Final = 200
#: how long a move waits for its order (R-032)
PARKED_FOR: Final = timedelta(seconds=3)
#: milliseconds that an entry waits for the numbers before it (R-030)
GAP_WAIT_MS: Final = 500

Verdict = Literal[
    "", "semantic_duplicate", "superseded", "old_sequence", "sequence_gap", "parked", "stream_stale"
]
#: what a verdict means for the follower, in words
SENTENCES: Final[dict[Verdict, str]] = {
    "semantic_duplicate": "the leader's order was told before, under another key: is a second copy of the EA running?",
    "superseded": "the leader had closed, canceled or turned when this came",
    "old_sequence": "the sender told a later act before, or this one under another key",
    "sequence_gap": "signals of the leader are missing: send a snapshot, or leaderPosition with each signal",
    "stream_stale": "the leader's EA was not heard for 15 s: it must send a snapshot first",
    "parked": "the leader's order is not known yet: the move waits 3 s for it",
}
#: verdicts under which nothing happened at the leader that was not known
REPEATS: Final[frozenset[Verdict]] = frozenset({"semantic_duplicate", "superseded", "old_sequence", "parked"})
_OPENS: Final = frozenset({"enter", "add", "reverse"})
_CLOSES: Final = frozenset({"exit", "flatten", "cancel"})


class Told(NamedTuple):
    """What makes two tellings of one act the same, whatever their keys are (R-029)."""

    leader_order_id: str
    action: str
    sequence: int | None
    leader_position: Decimal | None


class Parked(NamedTuple):
    """The newest numbers of an order that is not known yet."""

    received_at: datetime
    quantity: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    trail_offset: Decimal | None
    stop_loss: StopLoss | None
    take_profits: tuple[TakeProfit, ...]


@dataclass(slots=True)
class LeaderStream:
    """One leader's memory. `sequence` 0: its sender numbers nothing."""

    sequence: int = 0
    #: number of the newest act that named the leader's own position
    stated: int = 0
    #: numbers are missing, and no snapshot has made up for them
    incomplete: bool = False
    #: its EA was silent, and no snapshot has come since (R-035)
    stale: bool = False
    missing: OrderedDict[int, None] = field(default_factory=OrderedDict[int, None])
    told: OrderedDict[Told, None] = field(default_factory=OrderedDict[Told, None])
    #: leader orders whose entry was told, and no close since
    opened: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    #: closed or canceled leader orders, with the number of the act that did it
    tombstones: OrderedDict[str, int | None] = field(default_factory=OrderedDict[str, "int | None"])
    parked: OrderedDict[str, Parked] = field(default_factory=OrderedDict[str, Parked])


def numbered(signal: Signal) -> bool:
    """Whether the stream has anything to say of this signal: an EA's, with a number or the leader's order id.

    A drop copy knows its repeats by execution id and a webhook by its window; their order ids may come again.
    """
    return signal.source == "ea" and (signal.sequence is not None or signal.leader_order_id is not None)


def told_of(signal: Signal) -> Told | None:
    """The key of an entry of the leader; None for acts that may come twice (they only shrink, or move)."""
    if signal.action not in _OPENS or signal.leader_order_id is None or signal.is_fill:
        return None
    return Told(signal.leader_order_id, signal.action, signal.sequence, signal.leader_position)


def judge(signal: Signal, stream: LeaderStream | None, knows: Callable[[str], bool]) -> Verdict:
    """What is wrong with a signal, given what its sender told before; "" when nothing is.

    `knows`: whether an order of the leader, by its own id, rests or is copied.
    """
    if not numbered(signal):
        return _unheard(signal, stream)
    stream = stream or LeaderStream()
    sequence, order_id = signal.sequence, signal.leader_order_id
    if sequence is not None and sequence <= stream.sequence and not _fills_a_gap(signal, stream):
        return "old_sequence"
    if signal.action in _OPENS and order_id is not None:
        if _is_buried(stream, order_id, sequence):
            return "superseded"
        if _is_told(stream, signal):
            return "semantic_duplicate"
    if signal.action == "replace":
        moved = signal.orig_leader_order_id or order_id or ""
        if moved not in stream.opened and not knows(moved):
            return "superseded" if moved in stream.tombstones else "parked"
    gap = sequence is not None and stream.sequence and sequence > stream.sequence + 1
    unsure = (gap or stream.incomplete) and signal.leader_position is None
    return "sequence_gap" if unsure and signal.action in _OPENS else _unheard(signal, stream)


def _unheard(signal: Signal, stream: LeaderStream | None) -> Verdict:
    """An entry of an EA that was silent (R-035)."""
    stale = stream is not None and stream.stale and signal.source == "ea"
    return "stream_stale" if stale and signal.action in _OPENS else ""


def _fills_a_gap(signal: Signal, stream: LeaderStream) -> bool:
    """An exit that was missing still counts while nothing newer has told the truth; a late entry never does."""
    sequence = signal.sequence or 0
    return signal.is_exit and sequence in stream.missing and sequence > stream.stated


def _is_buried(stream: LeaderStream, order_id: str, sequence: int | None) -> bool:
    """The order's close was told, and this was told before it as far as anybody can say (R-031, I-10)."""
    if order_id not in stream.tombstones:
        return False
    closed = stream.tombstones[order_id]
    return sequence is None or closed is None or sequence < closed


def _is_told(stream: LeaderStream, signal: Signal) -> bool:
    """An order is entered once, whatever number tells it: two copies of an EA need not count alike."""
    if signal.action == "enter" and not signal.is_fill and signal.leader_order_id in stream.opened:
        return True
    return told_of(signal) in stream.told


def waits(signal: Signal, stream: LeaderStream | None) -> bool:
    """An entry that came before the numbers ahead of it: they may be on their way (R-030)."""
    if signal.sequence is None or stream is None or not stream.sequence or signal.action not in _OPENS:
        return False
    return signal.sequence > stream.sequence + 1


def merged(signal: Signal, stream: LeaderStream | None) -> Signal:
    """An entry with the numbers that a move brought before it (R-032)."""
    if stream is None or not stream.parked or signal.leader_order_id is None:
        return signal
    parked = stream.parked.get(signal.leader_order_id)
    if parked is None or signal.action not in _OPENS or signal.received_at - parked.received_at > PARKED_FOR:
        return signal
    return replace(
        signal,
        quantity=signal.quantity if parked.quantity is None else parked.quantity,
        price=signal.price if parked.price is None else parked.price,
        stop_price=signal.stop_price if parked.stop_price is None else parked.stop_price,
        trail_offset=signal.trail_offset if parked.trail_offset is None else parked.trail_offset,
        stop_loss=parked.stop_loss or signal.stop_loss,
        take_profits=parked.take_profits or signal.take_profits,
    )


def heard(signal: Signal, stream: LeaderStream, verdict: Verdict) -> None:
    """Fold one judged signal into its stream."""
    if not numbered(signal):
        return
    if signal.sequence is not None:
        _count(signal.sequence, signal, stream)
    if verdict == "parked":
        moved = signal.orig_leader_order_id or signal.leader_order_id or ""
        _remember(stream.parked, moved, _newest(stream.parked.get(moved), signal), PARKED_MAX)
    if verdict in REPEATS:
        return
    order_id = signal.leader_order_id
    told = told_of(signal)
    if told is not None:
        _remember(stream.told, told, None, TOLD_MAX)
        _remember(stream.opened, told.leader_order_id, None, TOLD_MAX)
        stream.parked.pop(told.leader_order_id, None)
    if order_id is not None and signal.action in _CLOSES:
        stream.opened.pop(order_id, None)
        _remember(stream.tombstones, order_id, signal.sequence, TOMBSTONES_MAX)


def _count(sequence: int, signal: Signal, stream: LeaderStream) -> None:
    last = stream.sequence
    stream.missing.pop(sequence, None)
    if sequence <= last:
        return
    stream.sequence = sequence
    if last and sequence > last + 1:
        stream.incomplete = True
        for number in range(max(last + 1, sequence - MISSING_MAX), sequence):
            _remember(stream.missing, number, None, MISSING_MAX)
    if signal.leader_position is not None:
        stream.stated = sequence


def reset(stream: LeaderStream, sequence: int | None) -> None:
    """A snapshot told everything up to `sequence`: nothing is missing any more (R-033)."""
    if sequence is not None:
        stream.sequence = max(stream.sequence, sequence)
    stream.incomplete = stream.stale = False
    stream.missing.clear()
    stream.parked.clear()


def _newest(older: Parked | None, signal: Signal) -> Parked:
    """Moves coalesce: the newest number of each kind counts."""
    was = older or Parked(signal.received_at, None, None, None, None, None, ())
    return Parked(
        signal.received_at,
        was.quantity if signal.quantity is None else signal.quantity,
        was.price if signal.price is None else signal.price,
        was.stop_price if signal.stop_price is None else signal.stop_price,
        was.trail_offset if signal.trail_offset is None else signal.trail_offset,
        signal.stop_loss or was.stop_loss,
        signal.take_profits or was.take_profits,
    )


_K = TypeVar("_K")
_V = TypeVar("_V")


def _remember(memory: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
