"""Which signals go past a crowd, and what they leave behind there: an entry that waited while its leader left is not
copied any more (I-10, R-031), and what shrinks exposure waits for nobody (R-050)."""

from collections.abc import Iterable
from dataclasses import replace

from kopitra.domain.acts import leader_acts
from kopitra.domain.book import Book
from kopitra.domain.fanout import FanoutPlan, LeaderAct
from kopitra.domain.signals import Signal


def goes_ahead(signal: Signal, book: Book, waiting: Iterable[Signal]) -> bool:
    """It closes something of its leader's. What only counts from where the leader stood (no exit, no absolute
    position) keeps its place behind what its leader sent before."""
    if signal.is_exit:
        return True
    if not _is_absolute(signal) and any(other.leader == signal.leader for other in waiting):
        return False
    return any(_closes(act) for act in leader_acts(signal, book))


def is_overtaken(waiting: Signal, signal: Signal, made: FanoutPlan) -> bool:
    """`signal`, accepted with the plan `made`, says where its leader stands: what was sent before it means nothing
    any more. Numbered signals are judged by their numbers."""
    if waiting.leader != signal.leader or waiting.sequence is not None:
        return False
    if signal.action == "cancel":
        return waiting.leader_order_id == signal.leader_order_id
    said = stands_in(signal, made.acts)
    return waiting.symbol in said or "" in said


def stands_in(signal: Signal, acts: Iterable[LeaderAct]) -> list[str]:
    """The products in which it says where its leader stands, whatever was sent before; "" for every product."""
    if signal.action == "flatten" and not signal.symbol:
        return [""]
    return [act.root for act in acts if _says_all(signal, act)]


def is_late(signal: Signal, book: Book) -> bool:
    """It would open something, and its leader has said since it was received where it stands. What only shrinks is
    never late; numbered signals are judged by their numbers."""
    if signal.is_exit or signal.action == "replace" or signal.sequence is not None:
        return False
    said = (book.said_at.get((signal.leader, root)) for root in (signal.symbol, ""))
    return any(at is not None and signal.received_at < at for at in said)


def standing_still(signal: Signal, book: Book) -> Signal:
    """One that came too late: its leader stays where newer acts have left it."""
    return replace(signal, leader_position=book.leader(signal.leader, signal.symbol).qty)


def _is_absolute(signal: Signal) -> bool:
    return signal.leader_position is not None or signal.action == "reverse"


def _says_all(signal: Signal, act: LeaderAct) -> bool:
    out = signal.is_exit and act.kind == "position" and not act.position_after
    return out or _is_absolute(signal)


def _closes(act: LeaderAct) -> bool:
    before, after = act.exposure_before, act.exposure_after
    return before * after < 0 or abs(after) < abs(before)
