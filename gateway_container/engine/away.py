"""A leader's own trades while the journal is away: what shrinks goes by the local exit file, entries are refused.

A drop copy tells what has happened, so it cannot be asked to come again as an EA can, and a follower must not stay in
a position that its leader has left. Signals keep their order: what came before an exit is taken with it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.intake import Intake
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.state import State
from kopitra.domain.errors import SignalRefused
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import OrderNotSent, SignalPlanned
from kopitra.domain.reducing import AWAY, SENTENCE, entries_of, reducing, shrinks, standing
from kopitra.domain.signals import Signal, check_signal

#: reason and detail of exits that neither the journal nor the disk could take
_NOT_DURABLE: Final = ("not_durable", "neither the database nor the local exit file could take it")


class Away:
    """Beside the intake; used only while the journal takes no decisions."""

    def __init__(
        self, state: State, log: Log, fanout: Fanout, intake: Intake, alert: Callable[[str, str, str], None]
    ) -> None:
        self._state = state
        self._log = log
        self._fanout = fanout
        self._intake = intake
        self._alert = alert

    def shrinks(self, signal: Signal) -> bool:
        """Something must be closed, canceled or moved because of it, and may be now."""
        if self._log.takes_decisions:
            return False
        try:
            made, _ = self._plan(signal)
        except SignalRefused:
            return False
        cut = reducing(made, self._state.book)
        may_exit = self._fanout.look.may_exit
        return shrinks(cut) and any(may_exit(leg.account_id) for leg in cut.legs)

    def take(self, signal: Signal, received_ns: int, *, overtaken: bool = False) -> None:
        """Plan it, write its shrinking part to the local file, send that. Raises SignalRefused, StoreError or
        QueueFull: nothing happened. `overtaken`: the leader has moved on since, so this moves it no more."""
        check_signal(signal)
        clock = self._state.clock
        made, folded = self._plan(signal)
        cut = reducing(made, self._state.book)
        if folded and overtaken:
            cut = standing(cut, signal.leader, self._state.book)
        entry = SignalPlanned(signal, cut)
        written = self._log.locally(signal.workspace, entry, signal_id=signal.signal_id, folded=folded)
        self._intake.planned(signal.workspace, signal.signal_id, 0)
        stamp = Stamp(received_ns or clock.monotonic_ns(), clock.monotonic_ns(), 0)
        places = self._fanout.prepare(cut, stamp)
        written.add_done_callback(lambda done: self._written(done, signal, cut, places))
        if folded:
            self._not_entered(signal.workspace, made)
        if refused := entries_of(made):
            text = f"{signal.signal_id} opens nothing at {refused} followers: {SENTENCE}"
            self._alert("leader-entries-refused", text, "")

    def _plan(self, signal: Signal) -> tuple[FanoutPlan, bool]:
        """The plan, and whether the book holds it already: its commit was tried and nobody knows what became of it."""
        known = self._intake.unclear(signal)
        return (known, True) if known is not None else (self._intake.plan(signal), False)

    def _not_entered(self, workspace: str, made: FanoutPlan) -> None:
        """Entries of an unclear commit are in the book as if they could leave: they never do."""
        for leg in made.legs:
            for approved in leg.orders:
                if not approved.intent.reduce_only:
                    entry = OrderNotSent(approved.intent.cl_ord_id, leg.account_id, AWAY, SENTENCE)
                    self._log.note(workspace, entry)

    def _written(
        self, done: "asyncio.Future[bool]", signal: Signal, cut: FanoutPlan, places: list[Place]
    ) -> None:
        if done.cancelled():
            return
        if not done.result():
            self._alert("exit-file-failed", f"the disk refused the exits of {signal.signal_id}", "")
            for place in places:
                lost = OrderNotSent(place.intent.cl_ord_id, place.intent.account_id, *_NOT_DURABLE)
                self._log.note(signal.workspace, lost)
            return
        self._fanout.dispatch(places, self._state.clock.monotonic_ns())
        for leg in cut.legs:
            for request in (*leg.cancels, *leg.replaces):
                self._fanout.requests.send(self._state.book.orders.get(request.orig_cl_ord_id))
