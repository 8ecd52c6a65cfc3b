"""Which signals go past a crowd, and what they leave behind there: an entry that waited while its leader left is not
copied any more (I-10, R-031), and what shrinks exposure waits for nobody (R-050)."""

from collections.abc import Iterable

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
    if signal.action == "flatten" and not signal.symbol:
        return True
    return any(act.root == waiting.symbol and _says_all(signal, act) for act in made.acts)


def _is_absolute(signal: Signal) -> bool:
    return signal.leader_position is not None or signal.action == "reverse"


def _says_all(signal: Signal, act: LeaderAct) -> bool:
    out = signal.is_exit and act.kind == "position" and not act.position_after
    return out or _is_absolute(signal)


def _closes(act: LeaderAct) -> bool:
    before, after = act.exposure_before, act.exposure_after
    return before * after < 0 or abs(after) < abs(before)
