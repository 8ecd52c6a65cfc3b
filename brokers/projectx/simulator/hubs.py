"""The hubs of the simulated firm: connections, who gets which event, and the faults of the stream."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from brokers._kit.sim_server import SimSocket
from brokers.projectx.simulator import render
from brokers.projectx.simulator.feed import HubEvent
from brokers.projectx.simulator.firm import Firm
from brokers.projectx.simulator.signalr import PING, RECORD_END, Close, HubName, Peer

PING_S: Final = 15.0
SILENCE_MAX_S: Final = 30.0
_MS_PER_S: Final = 1_000


@dataclass(eq=False, slots=True)
class Connection:
    """One open hub connection."""

    peer: Peer
    user: str
    socket: SimSocket
    last_heard_s: float

    def push(self, frame: str) -> None:
        """Write a frame now; a client that does not read is cut off by the socket."""
        self.socket.send_text(frame)

    def cut(self) -> None:
        """Say goodbye and end the connection."""
        self.socket.close(1000)


class Hubs:
    """All connections of one simulator."""

    def __init__(self, firm: Firm) -> None:
        self._firm = firm
        self._open: set[Connection] = set()
        self._shown = firm.quotes()  # by symbol: what the market hub told last

    # -- connections -------------------------------------------------------------------------------------

    def admits(self, hub: HubName, user: str) -> bool:
        """False while the stream is down or the user has too many connections."""
        settings = self._firm.core.settings
        mine = sum(1 for item in self._open if item.user == user and item.peer.hub == hub)
        return not (settings.stream_down or (settings.max_sessions and mine >= settings.max_sessions))

    def join(self, hub: HubName, user: str, socket: SimSocket) -> Connection:
        """A new connection."""
        now_s = asyncio.get_running_loop().time()
        connection = Connection(Peer(hub, self._firm.accounts_of(user)), user, socket, now_s)
        self._open.add(connection)
        return connection

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.discard(connection)

    def feed(self, connection: Connection, frame: str) -> None:
        """A frame of the client."""
        connection.last_heard_s = asyncio.get_running_loop().time()
        for answer in connection.peer.feed(frame):
            if self._firm.core.settings.stream_frozen:
                continue
            connection.push(answer.record if isinstance(answer, Close) else answer)
            if isinstance(answer, Close):
                connection.cut()
        for contract_id in connection.peer.take_fresh():
            self._show_quote(connection, contract_id)

    def ping(self) -> None:
        """The keep-alive of every connection."""
        if not self._firm.core.settings.stream_frozen:
            for connection in self._open:
                if connection.peer.greeted:
                    connection.push(PING)

    def cut_silent(self, now_s: float) -> None:
        """ASP.NET ends a connection after 30 s without any message of the client."""
        for connection in tuple(self._open):
            if now_s - connection.last_heard_s > SILENCE_MAX_S:
                connection.push('{"type":7,"error":"Connection closed with an error."}' + RECORD_END)
                connection.cut()

    def drop(self, user: str | None = None, record: str = "") -> int:
        """End connections (of one user or all), saying `record` first or nothing at all; their number."""
        chosen = [item for item in self._open if user is None or item.user == user]
        for connection in chosen:
            if not record:
                connection.socket.cut()
                continue
            connection.push(record)
            connection.cut()
        return len(chosen)

    def say(self, record: str) -> int:
        """Send a record of the caller's making to every user hub connection; their number."""
        chosen = [item for item in self._open if item.peer.hub == "user"]
        for connection in chosen:
            connection.push(record + RECORD_END)
        return len(chosen)

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._open)

    # -- events ------------------------------------------------------------------------------------------

    def publish(self, events: Iterable[HubEvent]) -> None:
        """Send user events to their subscribers, with the delays and faults of the settings."""
        told = self._with_faults(list(events))
        delay_ms = self._firm.core.settings.event_delay_ms
        if not told:
            return
        if delay_ms:
            asyncio.get_running_loop().call_later(delay_ms / _MS_PER_S, self._deliver, told)
        else:
            self._deliver(told)

    def _with_faults(self, events: list[HubEvent]) -> list[HubEvent]:
        settings, dice = self._firm.core.settings, self._firm.core.dice
        if settings.stream_silent or settings.stream_frozen or settings.stream_down:
            return []
        kept = [event for event in events if not dice.hits(settings.drop_event_ratio)]
        if kept and dice.hits(settings.reorder_event_ratio):
            kept = dice.shuffled(kept)
        out: list[HubEvent] = []
        for event in kept:
            out += [event] * (2 if dice.hits(settings.duplicate_event_ratio) else 1)
        return out

    def _deliver(self, events: list[HubEvent]) -> None:
        listeners = [item for item in self._open if item.peer.hub == "user" and item.peer.topics]
        coalesced = self._firm.quirks.coalesced_frames
        records = [(event, self._record(event)) for event in events] if listeners else []
        for connection in listeners:
            topics = connection.peer.topics
            mine = [record for event, record in records if (event.target, event.account_id) in topics]
            for frame in ["".join(mine)] if coalesced and mine else mine:
                connection.push(frame)

    def _record(self, event: HubEvent) -> str:
        quirks = self._firm.quirks
        data = event.data
        if quirks.string_ids:
            data = {**data, "id": str(data["id"])}
        if quirks.odd_state_next and event.target == "GatewayUserOrder":
            self._firm.quirks = quirks.with_changes({"odd_state_next": quirks.odd_state_next - 1})
            data = {**data, "status": 77}
        payload: object = data if quirks.bare_payloads else {"action": event.action, "data": data}
        return _invocation(event.target, [payload])

    def show_quotes(self) -> None:
        """Tell the market hub what changed since the last call."""
        changed: list[tuple[str, dict[str, object]]] = []
        for symbol, quote in self._firm.quotes().items():
            before = self._shown.get(symbol)
            if quote != before:
                row = self._firm.by_symbol[symbol]
                changed.append((row.id, render.quote(quote, before, row)))
                self._shown[symbol] = quote
        for contract_id, data in changed:
            record = _invocation("GatewayQuote", [contract_id, data])
            for connection in self._open:
                if ("GatewayQuote", contract_id) in connection.peer.topics:
                    connection.push(record)

    def _show_quote(self, connection: Connection, contract_id: str) -> None:
        row = self._firm.by_id.get(contract_id)
        quote = self._firm.core.quote(row.name) if row else None
        if row is not None and quote is not None:
            connection.push(_invocation("GatewayQuote", [contract_id, render.quote(quote, None, row)]))


def _invocation(target: str, arguments: list[object]) -> str:
    message = {"type": 1, "target": target, "arguments": arguments}
    return render.encode(message).decode() + RECORD_END
