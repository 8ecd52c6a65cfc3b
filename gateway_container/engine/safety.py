"""The safeguards that run beside the signals, put together: the machine starts them and knows nothing more of them."""

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

from gateway_container.engine.admission import Penalties
from gateway_container.engine.assertions import Assertions, Means
from gateway_container.engine.breakers import Probes
from gateway_container.engine.canary import Canary
from gateway_container.engine.clocks import Clocks
from gateway_container.engine.containment import Containment
from gateway_container.engine.expected import Expected
from gateway_container.engine.market_state import PendingExits
from gateway_container.engine.pulse import Health
from gateway_container.engine.silence import SilenceWatch
from kopitra.ports import BrokerTime, LoginNotice

if TYPE_CHECKING:
    from gateway_container.engine.machine import Machine


class Safety:
    """`beside` names what runs."""

    def __init__(self, machine: "Machine") -> None:
        state, sessions, reports = machine.state, machine.sessions, machine.reports
        fanout, supplies = machine.fanout, machine.supplies
        look = self._look = fanout.look
        self._probes = Probes(look.breakers, sessions, reports.handle, state.clock)
        self._silence = SilenceWatch(state, sessions, reports.handle)
        self._penalties = Penalties(state.clock, reports.alert)
        self.exits = PendingExits(state, machine.log, look.markets, sessions, supplies.adapters, reports)
        self.clocks = Clocks(state, supplies.shelf.server_time, reports.alert)
        pulses = machine.observer.pulses
        self.health = Health(state, fanout, sessions, pulses, self.clocks.ahead_ms, supplies.metrics.registry)
        machine.views.health_of = self.health
        machine.equity.follow = reports.follow
        sessions.shadows.watch_price = machine.quotes.also
        self.containment = Containment(state, machine.log, self._stop_entries)
        self._asserts = self._assert(machine)
        self.canary = Canary(machine)
        self.expected = Expected(state, machine.log.note)
        machine.repair_desk.repairs.on_sent = self.expected.repaired
        self._contain(machine)
        reports.on_refused = self.exits.refused
        reports.on_crowded = self.exits.crowded
        reports.on_notice = self._notice
        self.beside: Mapping[str, Callable[[], Coroutine[object, object, None]]] = {
            "probes": self._probes.run,
            "silence": self._silence.run,
            "pending exits": self.exits.run,
            "clocks": self.clocks.run,
            "health": self.health.run,
            "assertions": self._asserts.run,
            "expected": self.expected.run,
            "canary": self.canary.run,
            "shadows": sessions.shadows.run,
        }

    def _assert(self, machine: "Machine") -> Assertions:
        """Who looks at what was decided, listed and written, and how it stops entries."""
        asserts = machine.fanout.asserts
        counts = machine.supplies.metrics.breaks.counts
        asserts.attach(
            Means(
                machine.lease,
                machine.log.note,
                machine.control.throw,
                self._stop_entries,
                machine.reports.alert,
                counts,
            )
        )
        machine.log.on_decided = asserts.decided
        machine.reconciler.on_listed = asserts.listed
        return asserts

    def _stop_entries(self) -> None:
        """For good, in this process; exits go on."""
        self._look.unguarded = True

    def _contain(self, machine: "Machine") -> None:
        """Loops over accounts, each of which may fail by itself."""
        machine.equity.failed = machine.comparison.failed = machine.lifting.failed = self.containment.failed
        machine.lookup.failed = self.exits.failed = self._silence.failed = self.containment.failed
        self._probes.failed = self.expected.failed = self.containment.failed
        machine.sessions.shadows.failed = self.containment.failed
        machine.fanout.failed = machine.fanout.requests.failed = self.containment.failed

    def _notice(self, notice: LoginNotice) -> None:
        if isinstance(notice, BrokerTime):
            self.clocks.heard(notice)
        else:
            self._penalties.heard(notice)
