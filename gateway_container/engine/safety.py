"""The safeguards that run beside the signals, put together: the machine starts them and knows nothing more of them."""

from collections.abc import Callable, Coroutine, Mapping

from gateway_container.engine.admission import Penalties
from gateway_container.engine.breakers import Probes
from gateway_container.engine.clocks import Clocks
from gateway_container.engine.fanout import Fanout
from gateway_container.engine.log import Log
from gateway_container.engine.market_state import PendingExits
from gateway_container.engine.observe import Observer
from gateway_container.engine.pulse import Health
from gateway_container.engine.reports import Reports
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.silence import SilenceWatch
from gateway_container.engine.state import State
from kopitra.ports import BrokerAdapter, BrokerTime, LoginNotice
from kopitra.store.shelf import Shelf
from kopitra.telemetry import Metrics


class Safety:
    """`beside` names what runs."""

    def __init__(
        self,
        state: State,
        log: Log,
        fanout: Fanout,
        reports: Reports,
        sessions: Sessions,
        adapters: Mapping[str, BrokerAdapter],
        shelf: Shelf,
        observer: Observer,
        metrics: Metrics,
    ) -> None:
        look = fanout.look
        self._probes = Probes(look.breakers, sessions, reports.handle, state.clock)
        self._silence = SilenceWatch(state, sessions, reports.handle)
        self._penalties = Penalties(state.clock, reports.alert)
        self.exits = PendingExits(state, log, look.markets, sessions, adapters, reports)
        self.clocks = Clocks(state, shelf.server_time, reports.alert)
        self.health = Health(state, fanout, sessions, observer.pulses, self.clocks.ahead_ms, metrics.registry)
        reports.on_refused = self.exits.refused
        reports.on_notice = self._notice
        self.beside: Mapping[str, Callable[[], Coroutine[object, object, None]]] = {
            "probes": self._probes.run,
            "silence": self._silence.run,
            "pending exits": self.exits.run,
            "clocks": self.clocks.run,
            "health": self.health.run,
        }

    def _notice(self, notice: LoginNotice) -> None:
        if isinstance(notice, BrokerTime):
            self.clocks.heard(notice)
        else:
            self._penalties.heard(notice)
