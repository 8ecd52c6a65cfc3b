"""The simulated vendor on the wire: REST and WebSocket under `/v1` on one port, and the control API."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from brokers._kit.matching import apply_control
from brokers._kit.sim_server import Request, Response, SimServer
from brokers.tradovate.simulator.firm import Firm, Outcome
from brokers.tradovate.simulator.logins import password_of
from brokers.tradovate.simulator.sockets import Sockets
from brokers.tradovate.simulator.tables import Change
from kopitra.ports import SimAccount

_PREFIX: Final = "/v1/"
_MS_PER_S: Final = 1_000
_NS_PER_S: Final = 1_000_000_000
_WATCH_S: Final = 0.5  #: how often the sockets are looked at


class Simulator:
    """A running simulator of the vendor (`RunningSimulator`)."""

    def __init__(
        self, logins: Mapping[str, Sequence[SimAccount]], now_ns: Callable[[], int], seed: int
    ) -> None:
        self.firm = Firm(logins, now_ns, seed)
        self.sockets = Sockets(self.firm, self.happened)
        self.server = SimServer(ignore_case=True)
        self.server.prefix("GET", _PREFIX, self._http)
        self.server.prefix("POST", _PREFIX, self._http)
        self.server.stream("/v1/websocket", self.sockets.serve)
        self.server.control(self.control)
        self._watch: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None

    # -- life --------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any."""
        await self.server.start(host, port)
        self._watch = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._due is not None:
            self._due.cancel()
        await self.server.stop()

    @property
    def control_url(self) -> str:
        """Base URL; the control API is under `/_sim/`."""
        return self.server.url

    def login(self, name: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(settings, credentials) that make a LoginPlan. KeyError for an unknown login.

        The settings lift what only protects the real vendor: budget, distance of connects, long backoff.
        """
        if name not in self.firm.logins.users:
            raise KeyError(f"the simulator has no login {name!r}")
        settings = {
            "base_url": f"{self.server.url}/v1",
            "md_url": f"{self.server.url.replace('http', 'ws', 1)}/v1/websocket",
            "snapshot_quiet_s": "0.05",
            "requests_per_minute": "1000000",
            "requests_per_hour": "10000000",
            "quotes": "on",
            "connect_interval_s": "0",
            "reconnect_first_s": "0.1",
            "reconnect_max_s": "1",
        }
        return settings, {
            "name": name,
            "password": password_of(name),
            "cid": "8",
            "sec": "secret-of-the-simulator",
        }

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            self.sockets.beat()

    # -- requests ----------------------------------------------------------------------------------------

    def _http(self, request: Request) -> Response:
        endpoint = request.path[len(_PREFIX) :].lower()
        if endpoint == "auth/accesstokenrequest":
            outcome = self.firm.login(request.body)
        else:
            token = request.header(b"authorization").decode("latin-1").removeprefix("Bearer ")
            session = self.firm.logins.find(token)
            outcome = self.firm.answer(session, endpoint, request.params(), request.body)
        self.happened(outcome.changes)
        return self._response(outcome)

    def _response(self, outcome: Outcome) -> Response:
        delay_s = self.firm.core.settings.ack_delay_ms / _MS_PER_S
        return Response(outcome.text.encode(), outcome.status or 200, delay_s=delay_s, fate=outcome.fate)

    def happened(self, changes: Sequence[Change]) -> None:
        """Tell the sockets, and wake up for executions that are due later."""
        self.sockets.publish(changes)
        due_ns = self.firm.core.next_due_ns()
        if self._due is None and due_ns is not None:
            wait_s = max(0, due_ns - self.firm.now_ns()) / _NS_PER_S
            self._due = asyncio.get_running_loop().call_later(wait_s, self._advance)

    def _advance(self) -> None:
        self._due = None
        self.happened(self.firm.changes(self.firm.core.advance(self.firm.now_ns())))

    # -- control -----------------------------------------------------------------------------------------

    def control(self, command: dict[str, object]) -> object:
        """One command of the control API; ValueError for what is none."""
        arguments = {key: value for key, value in command.items() if key != "command"}
        user = arguments.get("login")
        login = user if isinstance(user, str) else None
        match command["command"]:
            case "quirks":
                self.firm.quirks = self.firm.quirks.with_changes(arguments)
                return asdict(self.firm.quirks)
            case "drop-streams":
                return {"connections": self.sockets.drop(login)}
            case "go-away":
                return {"connections": self.sockets.drop(login, 'c[3000,"Go away!"]')}
            case "shutdown":
                reason_code = arguments.get("reason_code", "Maintenance")
                return {"connections": self.sockets.shut(str(reason_code), login)}
            case "revoke-tokens":
                self.firm.logins.expire_all()
                return {"ok": True}
            case "logins":
                return [{"name": user.name, "requests": user.requests, "logins": user.logins,
                         "renewals": user.renewals} for user in self.firm.logins.users.values()]  # fmt: skip
            case _:
                return self._core_command(command)

    def _core_command(self, command: dict[str, object]) -> object:
        answer = apply_control(self.firm.core, command, self.firm.now_ns())
        if command["command"] == "reset":
            self.firm.open()
            self.sockets.drop()
        self.happened(self.firm.changes(answer.events))
        if command["command"] == "set-price":
            self.sockets.show_quotes(self.firm.quotes())
        if self.firm.core.settings.stream_down:
            self.sockets.drop()
        return answer.body
