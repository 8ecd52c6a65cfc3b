"""The simulated firm on the wire: REST under `/api`, the two hubs, and the control API.

Routes answer at once unless a setting delays them; what a request changes is done, and told on the hubs,
before its answer leaves (the firm's hub is often faster than its REST answer too).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from decimal import Decimal
from typing import Final, Literal, cast
from urllib.parse import parse_qs

import msgspec

from brokers._kit.matching import CoreEvent, apply_control
from brokers._kit.sim_server import Request, Response, SimServer, SimSocket
from brokers.projectx.simulator import render
from brokers.projectx.simulator.clock import wall_ns
from brokers.projectx.simulator.desk import BadBody, Done, integer
from brokers.projectx.simulator.firm import Firm, api_key_of
from brokers.projectx.simulator.hubs import PING_S, Hubs
from brokers.projectx.simulator.logins import BARS_WINDOW, TOKEN_TTL_S, WINDOW, Login
from brokers.projectx.simulator.render import Json, envelope
from brokers.projectx.simulator.signalr import RECORD_END, HubName
from kopitra.ports import SimAccount

Body = Mapping[str, object]
Query = Callable[[Body, int], Json]
Command = Callable[[Body, int], Done]

_decode: Final = msgspec.json.Decoder(float_hook=Decimal, type=dict[str, object])
_MS_PER_S: Final = 1_000
_LATE_DENIAL_S: Final = 0.5
_TICKETS_MAX: Final = 10_000  #: negotiated connection ids that were not used yet
_QUIRKS: Final = "quirks"


class Simulator:
    """A running simulator of the firm (`RunningSimulator`)."""

    def __init__(
        self,
        logins: Mapping[str, Sequence[SimAccount]],
        seed: int,
        now_ns: Callable[[], int] = wall_ns,
    ) -> None:
        self.firm = Firm(logins, now_ns, seed)
        self.hubs = Hubs(self.firm)
        self.server = SimServer(ignore_case=True)
        self._tickets: dict[str, str] = {}  # negotiated id -> user, bounded by _TICKETS_MAX
        self._used_tickets = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._due: asyncio.TimerHandle | None = None
        self._add_routes()

    # -- life --------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any."""
        await self.server.start(host, port)
        self._tasks.append(asyncio.create_task(self._keep_alive()))

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._due is not None:
            self._due.cancel()
        await self.server.stop()

    @property
    def control_url(self) -> str:
        """Base URL; the control API is under `/_sim/`."""
        return self.server.url

    def login(self, name: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(settings, credentials) that make a LoginPlan. KeyError for an unknown login."""
        if self.firm.logins.find(name) is None:
            raise KeyError(f"the simulator has no login {name!r}")
        url = self.server.url
        return {"api_url": url, "rtc_url": url}, {"user_name": name, "api_key": api_key_of(name)}

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self.hubs.ping()
            self.hubs.cut_silent(asyncio.get_running_loop().time())

    # -- routes ------------------------------------------------------------------------------------------

    def _add_routes(self) -> None:
        add, queries, desk = self.server.route, self.firm.queries, self.firm.desk
        add("GET", "/api/Status/ping", lambda _: Response(b"pong", content_type=b"text/plain"))
        add("POST", "/api/Auth/loginKey", self._log_in)
        add("POST", "/api/Auth/validate", lambda request: self._authorized(request, self._validate))
        add("POST", "/api/Auth/logout", lambda request: self._authorized(request, _logged_out))
        add("POST", "/api/Account/search", lambda request: self._authorized(request, self._accounts))
        lookups: list[tuple[str, Query]] = [
            ("Contract/available", lambda body, _: queries.contracts(body)),
            ("Contract/search", lambda body, _: queries.search_contracts(body)),
            ("Contract/searchById", lambda body, _: queries.contract(body)),
            ("Order/search", queries.order_history),
            ("Order/searchOpen", queries.open_orders),
            ("Order/searchById", queries.order),
            ("Order/v2/query", queries.query_orders),
            ("Position/searchOpen", lambda body, _: queries.positions(body)),
            ("Trade/search", queries.trades),
            ("History/retrieveBars", lambda body, _: envelope(bars=[])),
        ]
        for path, query in lookups:
            add("POST", f"/api/{path}", self._lookup(path, query))
        commands: tuple[tuple[str, Command], ...] = (
            ("Order/place", desk.place),
            ("Order/cancel", desk.cancel),
            ("Order/modify", desk.modify),
            ("Position/closeContract", lambda body, now_ns: desk.close(body, now_ns, partly=False)),
            ("Position/partialCloseContract", lambda body, now_ns: desk.close(body, now_ns, partly=True)),
        )
        for path, command in commands:
            add("POST", f"/api/{path}", self._mutation(path, command))
        self.server.prefix("GET", "/api/", lambda _: Response(status=405))
        for hub in ("user", "market"):
            add("POST", f"/hubs/{hub}/negotiate", self._negotiate)
            self.server.stream(f"/hubs/{hub}", self._hub(hub))
        self.server.control(self._control)

    def _lookup(self, path: str, query: Query) -> Callable[[Request], Response]:
        bars = path == "History/retrieveBars"

        def answer(request: Request) -> Response:
            def run(login: Login, body: Body) -> Response:
                if path == "Order/v2/query" and self.firm.quirks.no_v2_query:
                    return Response(status=404)
                reply = query(body, self.firm.now_ns())
                if self.firm.quirks.missing_lists:
                    reply = {key: value for key, value in reply.items() if not isinstance(value, list)}
                return self._reply(reply)

            return self._authorized(request, run, bars=bars)

        return answer

    def _mutation(self, path: str, command: Command) -> Callable[[Request], Response]:
        placing = path == "Order/place"

        def answer(request: Request) -> Response:
            def run(login: Login, body: Body) -> Response:
                return self._execute(login, body, command, placing=placing)

            return self._authorized(request, run)

        return answer

    # -- who asks ----------------------------------------------------------------------------------------

    def _authorized(
        self, request: Request, run: Callable[[Login, Body], Response], *, bars: bool = False
    ) -> Response:
        settings = self.firm.core.settings
        if settings.maintenance:
            return Response(status=503)
        header = request.header(b"authorization").decode("latin-1")
        login = self.firm.logins.of_token(header.removeprefix("Bearer ")) if header else None
        if login is None:
            return Response(status=401, delay_s=_LATE_DENIAL_S if self._take("late_denial_next") else 0.0)
        limit, window_s = BARS_WINDOW if bars else WINDOW
        if settings.rate_limit_per_window:
            limit = settings.rate_limit_per_window
        if self._take("throttle_next") or not self.firm.logins.admit(
            login, limit, settings.rate_window_s or window_s, bars=bars
        ):
            return Response(status=429)
        try:
            body = _decode.decode(request.body or b"{}")
            return run(login, body)
        except (msgspec.MsgspecError, BadBody) as wrong:
            problem = {
                "title": "One or more validation errors occurred.",
                "status": 400,
                "detail": str(wrong),
            }
            return Response(render.encode(problem), 400, b"application/problem+json")

    def _take(self, quirk: str) -> bool:
        left = cast(int, getattr(self.firm.quirks, quirk))
        if left:
            self.firm.quirks = self.firm.quirks.with_changes({quirk: left - 1})
        return left > 0

    def _log_in(self, request: Request) -> Response:
        if self.firm.core.settings.maintenance:
            return Response(status=503)
        try:
            body = _decode.decode(request.body)
        except msgspec.MsgspecError:
            return Response(status=400)
        login = self.firm.logins.find(str(body.get("userName")))
        if login is None or body.get("apiKey") != login.api_key:
            return self._reply(envelope(3, token=None))
        return self._reply(envelope(token=self._issue(login)))

    def _issue(self, login: Login) -> str:
        return self.firm.logins.issue(login, self.firm.core.settings.token_ttl_s or TOKEN_TTL_S)

    def _validate(self, login: Login, body: Body) -> Response:
        return self._reply(envelope(newToken=self._issue(login)))

    def _accounts(self, login: Login, body: Body) -> Response:
        return self._reply(self.firm.queries.accounts(login.user, body))

    # -- mutations and their faults ------------------------------------------------------------------------

    def _execute(self, login: Login, body: Body, command: Command, *, placing: bool) -> Response:
        settings, dice = self.firm.core.settings, self.firm.core.dice
        if dice.hits(settings.drop_request_ratio):
            return Response(fate="dropped")
        if integer(body, "accountId") not in self.firm.accounts_of(login.user):
            return self._reply(envelope(1, None, **({"orderId": None} if placing else {})))
        done = command(body, self.firm.now_ns())
        self.happened(done.events)
        answer = self._reply(done.answer)
        if placing and (broken := self._broken(answer, done.answer)) is not None:
            return broken
        if dice.hits(settings.drop_answer_ratio):
            return answer._replace(fate="dropped")
        if dice.hits(settings.reset_ratio):
            return answer._replace(fate="cut")
        if dice.hits(settings.answer_500_after_execute_ratio):
            return Response(status=500, delay_s=answer.delay_s)
        return answer

    def _broken(self, answer: Response, told: Json) -> Response | None:
        """The planned faults of the next placements; the order was executed in each."""
        if self._take("hang_up_next"):
            return answer._replace(fate="dropped")
        if self._take("fail_next"):
            return Response(status=500, delay_s=answer.delay_s)
        if self._take("garbage_next"):
            return answer._replace(body=b'{"orderId":')
        if self._take("hub_rejects_next"):
            return answer._replace(body=render.encode(envelope(orderId=told.get("orderId"))))
        if self._take("ambiguous_next"):
            body = render.encode(envelope(self.firm.quirks.ambiguous_code, None, orderId=None))
            return answer._replace(body=body)
        return None

    def _reply(self, answer: Json) -> Response:
        return Response(render.encode(answer), delay_s=self.firm.core.settings.ack_delay_ms / _MS_PER_S)

    def happened(self, events: Sequence[CoreEvent]) -> None:
        """Tell the hubs, and wake up for executions that are due later."""
        if events:
            self.hubs.publish(self.firm.feed.render(events))
        due_ns = self.firm.core.next_due_ns()
        if self._due is None and due_ns is not None:
            wait_s = max(0, due_ns - self.firm.now_ns()) / 1_000_000_000
            self._due = asyncio.get_running_loop().call_later(wait_s, self._advance)

    def _advance(self) -> None:
        self._due = None
        self.happened(self.firm.core.advance(self.firm.now_ns()))

    # -- hubs --------------------------------------------------------------------------------------------

    def _negotiate(self, request: Request) -> Response:
        login = self._caller(request.header(b"authorization"), request.query)
        if login is None:
            return Response(status=401)
        if len(self._tickets) >= _TICKETS_MAX:
            return Response(render.encode({"error": "Too many connections."}))
        self._used_tickets += 1
        ticket = f"ticket-{self._used_tickets}"
        self._tickets[ticket] = login.user
        answer: Json = {
            "connectionId": ticket,
            "availableTransports": [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}],
        }
        if parse_qs(request.query.decode()).get("negotiateVersion") == ["1"]:
            answer = {"negotiateVersion": 1, "connectionToken": ticket, **answer}
        return Response(render.encode(answer))

    def _caller(self, authorization: bytes, query: bytes) -> Login | None:
        token = authorization.decode("latin-1").removeprefix("Bearer ")
        if not token:
            token = parse_qs(query.decode()).get("access_token", [""])[0]
        return self.firm.logins.of_token(token)

    def _hub(self, hub: HubName) -> Callable[[SimSocket], "asyncio.Future[None]"]:
        async def serve(socket: SimSocket) -> None:
            login = self._caller(socket.header(b"authorization"), socket.query)
            refusal = self._hub_refusal(hub, login, socket.params().get("id"))
            if login is None or refusal:
                await socket.refuse(refusal or 401)
                return
            await socket.accept()
            connection = self.hubs.join(hub, login.user, socket)
            try:
                async for frame in socket:
                    self.hubs.feed(connection, frame)
            finally:
                self.hubs.leave(connection)

        return cast("Callable[[SimSocket], asyncio.Future[None]]", serve)

    def _hub_refusal(self, hub: HubName, login: Login | None, ticket: str | None) -> int:
        if login is None:
            return 401
        if ticket is not None and self._tickets.pop(ticket, None) != login.user:
            return 404
        return 0 if self.hubs.admits(hub, login.user) else 503

    # -- control -----------------------------------------------------------------------------------------

    def _control(self, command: dict[str, object]) -> object:
        name = command["command"]
        arguments = {key: value for key, value in command.items() if key != "command"}
        if name == _QUIRKS:
            self.firm.quirks = self.firm.quirks.with_changes(arguments)
            return asdict(self.firm.quirks)
        if name in ("drop-streams", "logout", "revoke-tokens"):
            return self._disturb(name, cast("str | None", arguments.get("login")))
        if name == "say":
            return {"ok": True, "connections": self.hubs.say(str(arguments.get("record")))}
        answer = apply_control(self.firm.core, command, self.firm.now_ns())
        if name == "reset":
            self.firm.open_market()
        self.happened(answer.events)
        self.hubs.show_quotes()
        if self.firm.core.settings.stream_down:
            self.hubs.drop()
        return answer.body

    def _disturb(self, name: Literal["drop-streams", "logout", "revoke-tokens"], user: str | None) -> object:
        if name == "revoke-tokens":
            self.firm.logins.revoke(user)
            return {"ok": True}
        record = ""
        if name == "logout":
            record = '{"type":1,"target":"GatewayLogout","arguments":[{}]}' + RECORD_END
            record += '{"type":7,"error":"Connection closed with an error."}' + RECORD_END
        return {"ok": True, "connections": self.hubs.drop(user, record)}


def _logged_out(login: Login, body: Body) -> Response:
    return Response(render.encode(envelope()))
