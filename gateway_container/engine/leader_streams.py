"""Leader streams at run time: who is told of gaps and repeats, and the reset by snapshot.

What a signal is worth is decided by `kopitra/domain/streams.py` from the book; here is only what needs time.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from gateway_container.engine.intake import Intake, Pending
from gateway_container.engine.log import Log
from gateway_container.engine.state import State
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import LeaderTold
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from kopitra.domain.signals import Signal
from kopitra.domain.streams import PARKED_FOR, SENTENCES, Verdict
from kopitra.store.drafts import Committed, Duplicate

#: (code, text, account): something a person must know
Alert = Callable[[str, str, str], None]
_CODES: Final[dict[Verdict, str]] = {
    "semantic_duplicate": "signal-told-twice",
    "old_sequence": "signal-told-twice",
    "superseded": "signal-superseded",
    "sequence_gap": "signals-missing",
    "stream_stale": "stream-stale",
}


class LeaderStreams:
    """Beside the intake; costs a signal without numbers nothing."""

    def __init__(self, state: State, log: Log, intake: Intake, alert: Alert) -> None:
        self._state = state
        self._log = log
        self._intake = intake
        self._alert = alert
        #: asks a leader's EA for a snapshot: (leader, why); whoever serves the EAs sets it
        self.ask: Callable[[str, str], None] = lambda _leader, _why: None

    def planned(self, signal: Signal, made: FanoutPlan) -> None:
        """A numbered signal is in the book: tell what was wrong with it."""
        verdict = made.verdict
        if verdict == "parked":
            order = signal.orig_leader_order_id or signal.leader_order_id or ""
            self._wait(signal.leader, order, signal.received_at)
        elif verdict:
            text = f"{signal.signal_id} ({signal.action} {signal.symbol}): {SENTENCES[verdict]}"
            self._alert(_CODES[verdict], text, "")
            if verdict in ("sequence_gap", "stream_stale"):
                self.ask(signal.leader, verdict)
        elif self._opened_a_gap(signal):
            missing = ", ".join(str(n) for n in self._state.book.streams[signal.leader].missing)
            self._alert(
                "signals-missing", f"leader {signal.leader} did not tell {missing}: send a snapshot", ""
            )
            self.ask(signal.leader, "sequence_gap")

    def _opened_a_gap(self, signal: Signal) -> bool:
        stream = self._state.book.streams.get(signal.leader)
        return stream is not None and (signal.sequence or 0) - 1 in stream.missing

    def take_up(self) -> None:
        """After a start: what a predecessor parked, and no snapshot has made up for, waits its time again (R-032)."""
        for leader, stream in self._state.book.streams.items():
            for order, parked in stream.parked.items():
                self._wait(leader, order, parked.received_at)

    def _wait(self, leader: str, order: str, received_at: datetime) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(PARKED_FOR.total_seconds(), self._drop, leader, order, received_at)

    def _drop(self, leader: str, order: str, received_at: datetime) -> None:
        """The order of a parked move has not come (R-032)."""
        stream = self._state.book.streams.get(leader)
        parked = stream.parked.get(order) if stream is not None else None
        if parked is not None and parked.received_at == received_at:
            text = f"leader {leader} moved {order} and never told that order: the move is dropped; send a snapshot"
            self._alert("move-dropped", text, "")
            self.ask(leader, "move_dropped")

    def snapshot(self, snapshot: LeaderSnapshot) -> list[Pending]:
        """The reset (R-033): what shrinks is followed at once, then the leader is where the snapshot says.

        Raises what `Intake.accept` raises; the same snapshot again has no second effect.
        """
        return self.take(snapshot)[0]

    def take(self, snapshot: LeaderSnapshot) -> tuple[list[Pending], asyncio.Future[Committed]]:
        """`snapshot`, and the commit of the reset itself: it is the last of all."""
        made: list[Pending] = []
        for act in reductions(snapshot, self._state.book, self._state.clock.now()):
            try:
                made.append(self._intake.accept(act, None))
            except Duplicate:
                continue
        told = self._log.decide(snapshot.workspace, LeaderTold(snapshot))
        told.add_done_callback(_seen)
        return made, told


def _seen(done: asyncio.Future[Committed]) -> None:
    """The log acts upon a failure; here it is only looked at, so that nobody misses it."""
    if not done.cancelled():
        done.exception()
