"""What happens on the simulated sockets: frames, authorize, requests, snapshots, events, quotes."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from brokers._kit.matching import Quote
from brokers._kit.sim_server import SimSocket
from brokers.tradovate.simulator.firm import Firm, Outcome
from brokers.tradovate.simulator.logins import Session
from brokers.tradovate.simulator.queries import array, visible
from brokers.tradovate.simulator.render import quoted, stamp
from brokers.tradovate.simulator.tables import PLURALS, Change, Row

BEAT_S: Final = 2.5
_FIELDS: Final = 4  #: endpoint, id, query, body
#: how late a part of the snapshot is
_LATE_S = 1.0
#: rows of one part of a split snapshot
_PART_ROWS = 1_000
_MS_PER_S: Final = 1_000
_NS_PER_S: Final = 1_000_000_000

_ODD = re.compile(r'"ordStatus":"\w+"')


class _Sync(msgspec.Struct, rename="camel"):
    users: list[int] = []
    accounts: list[int] = []
    split_responses: bool = False


class _Subscription(msgspec.Struct):
    symbol: str


@dataclass(slots=True, eq=False)
class Connection:
    """One client's socket."""

    socket: SimSocket
    heard_s: float
    sent_s: float = 0.0
    session: Session | None = None
    synced: bool = False
    symbols: set[str] = field(default_factory=set[str])
    snapshot: asyncio.Task[None] | None = None
    #: parts of it that are still to come, later than the others
    late: int = 0


class Sockets:
    """All connections of the firm."""

    def __init__(self, firm: Firm, happened: Callable[[Sequence[Change]], None]) -> None:
        self._firm = firm
        self._happened = happened
        self._open: dict[Connection, None] = {}

    async def serve(self, socket: SimSocket) -> None:
        """One connection from the upgrade to its end."""
        if self._firm.core.settings.stream_down:
            await socket.refuse(503)
            return
        await socket.accept()
        connection = Connection(socket, heard_s=_now_s())
        if self._firm.take_deaf():
            await socket.recv()
            return
        self._open[connection] = None
        self._send(connection, "o")
        try:
            async for frame in socket:
                connection.heard_s = _now_s()
                if frame != "[]":
                    self._request(connection, frame)
        finally:
            self._open.pop(connection, None)
            if connection.snapshot is not None:
                connection.snapshot.cancel()

    def all(self) -> list[Connection]:
        """The connections that are open."""
        return list(self._open)

    # -- frames out --------------------------------------------------------------------------------------

    def beat(self) -> None:
        """`h` to whoever heard nothing for a while; drop whoever says nothing."""
        now_s, quirks, settings = _now_s(), self._firm.quirks, self._firm.core.settings
        for connection in list(self._open):
            if now_s - connection.heard_s > quirks.client_silence_max_s:
                connection.socket.close(1000, "no heartbeat")
            elif now_s - connection.sent_s >= BEAT_S * 0.9 and not (
                quirks.mute_heartbeat or settings.stream_frozen
            ):
                self._send(connection, "h")

    def publish(self, changes: Sequence[Change]) -> None:
        """Tell every synchronized socket what it may see, after the delay that is set."""
        settings = self._firm.core.settings
        if not changes or settings.stream_silent or settings.stream_frozen:
            return
        if settings.event_delay_ms:
            delay_s = settings.event_delay_ms / _MS_PER_S
            asyncio.get_running_loop().call_later(delay_s, self._publish_now, changes)
        else:
            self._publish_now(changes)

    def _publish_now(self, changes: Sequence[Change]) -> None:
        settings, dice = self._firm.core.settings, self._firm.core.dice
        if dice.hits(settings.reorder_event_ratio):
            changes = dice.shuffled(changes)
        if settings.duplicate_event_ratio or settings.drop_event_ratio or self._firm.has_event_quirks:
            events = [(change.row.account_id, text) for change in changes for text in self._texts(change)]
        else:
            events = [(change.row.account_id, _event(change, change.row.text)) for change in changes]
        for connection in list(self._open):
            if not connection.synced or connection.session is None:
                continue
            accounts = connection.session.user.accounts
            seen = [text for account_id, text in events if not account_id or account_id in accounts]
            if seen:
                self._send(connection, f"a[{','.join(seen)}]")

    def _texts(self, change: Change) -> list[str]:
        settings, dice = self._firm.core.settings, self._firm.core.dice
        if dice.hits(settings.drop_event_ratio):
            return []
        row, arrays = change.row, self._firm.quirks.array_props
        told = row.text
        if row.kind == "order" and self._firm.take_odd_state():
            told = _ODD.sub('"ordStatus":"Hibernating"', told)
        text = _event(change, f"[{told}]" if arrays else told, arrays=arrays)
        twice = row.kind == "fill" and self._firm.take_double_fill()
        return [text, text] if twice or dice.hits(settings.duplicate_event_ratio) else [text]

    def show_quotes(self, quotes: Mapping[str, Quote]) -> None:
        """Tell subscribers the present prices."""
        for connection in list(self._open):
            shown = [
                self._quote(symbol, quotes[symbol])
                for symbol in sorted(connection.symbols)
                if symbol in quotes
            ]
            if shown:
                self._send(connection, f'a[{{"e":"md","d":{{"quotes":[{",".join(shown)}]}}}}]')

    def _quote(self, symbol: str, quote: Quote) -> str:
        return (
            f'{{"timestamp":"{stamp(quote.ts_ns)}","contractId":{self._firm.contract_ids[symbol]},"entries":{{'
            f'"Bid":{{"price":{quote.bid:f},"size":5}},"Offer":{{"price":{quote.ask:f},"size":5}},'
            f'"Trade":{{"price":{quote.last:f},"size":1}}}}}}'
        )

    def shut(self, reason_code: str, user: str | None = None) -> int:
        """A shutdown event, then the close frame; how many connections."""
        shutdown = f'{{"reasonCode":{quoted(reason_code)},"reason":"simulated"}}'
        return self.drop(user, f'a[{{"e":"shutdown","d":{shutdown}}}]', 'c[3000,"Go away!"]')

    def drop(self, user: str | None = None, *last: str) -> int:
        """End connections, of one login or of all; with last words, else without a goodbye."""
        mine = [
            c for c in self._open if user is None or (c.session is not None and c.session.user.name == user)
        ]
        for connection in mine:
            for text in last:
                self._send(connection, text)
            if last:
                connection.socket.close(3000, "Go away!")
            else:
                connection.socket.cut()
        return len(mine)

    def _send(self, connection: Connection, text: str) -> None:
        connection.sent_s = _now_s()
        connection.socket.send_text(text)

    # -- frames in ---------------------------------------------------------------------------------------

    def _request(self, connection: Connection, frame: str) -> None:
        parts = frame.split("\n", _FIELDS - 1)
        if len(parts) != _FIELDS or not parts[1].isdecimal():
            connection.socket.close(1008, "bad frame")
            return
        endpoint, request_id, query, body = parts
        endpoint = endpoint.lower()
        if endpoint == "authorize":
            self._authorize(connection, request_id, body)
            return
        outcome = self._outcome(connection, endpoint, query, body)
        if outcome.status == 200 and endpoint == "user/syncrequest" and not outcome.text:
            self._sync(connection, request_id, body)
            return
        self._finish(connection, request_id, outcome)

    def _outcome(self, connection: Connection, endpoint: str, query: str, body: str) -> Outcome:
        session = connection.session
        if endpoint in ("md/subscribequote", "md/unsubscribequote"):
            return self._subscribe(connection, endpoint, body)
        if endpoint == "user/syncrequest" and session is not None:
            return self._firm.sync_permission(session, body.encode(), already=connection.synced)
        return self._firm.answer(session, endpoint, dict(parse_qsl(query)), body.encode())

    def _finish(self, connection: Connection, request_id: str, outcome: Outcome) -> None:
        first = self._firm.quirks.events_first
        if first:
            self._happened(outcome.changes)
        delay_s = self._firm.core.settings.ack_delay_ms / _MS_PER_S
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._respond, connection, request_id, outcome)
        else:
            self._respond(connection, request_id, outcome)
        if not first:
            self._happened(outcome.changes)

    def _respond(self, connection: Connection, request_id: str, outcome: Outcome) -> None:
        if outcome.silent:
            return
        if outcome.fate != "whole":
            connection.socket.cut()
            return
        text = f',"d":{outcome.text}' if outcome.text else ""
        self._send(connection, f'a[{{"s":{outcome.status},"i":{request_id}{text}}}]')

    def _authorize(self, connection: Connection, request_id: str, body: str) -> None:
        session = self._firm.logins.find(body.strip('"'))
        if session is None:
            self._respond(connection, request_id, Outcome(401, '"Invalid access token"'))
            return
        connection.session = session
        self._respond(connection, request_id, Outcome(200, "{}"))
        self._enforce_quota(session)

    def _enforce_quota(self, session: Session) -> None:
        limit = self._firm.core.settings.max_sessions
        mine = [c for c in self._open if c.session is not None and c.session.user is session.user]
        for oldest in mine[:-limit] if limit else ():
            self._send(
                oldest,
                'a[{"e":"shutdown","d":{"reasonCode":"ConnectionQuotaReached","reason":"newer login"}}]',
            )
            oldest.socket.close(3000, "Go away!")

    def _subscribe(self, connection: Connection, endpoint: str, body: str) -> Outcome:
        if connection.session is None:
            return Outcome(401, '"Access is denied"')
        symbol = msgspec.json.decode(body, type=_Subscription).symbol
        if symbol not in self._firm.contract_ids:
            return Outcome(200, '{"errorText":"Symbol not found"}')
        if endpoint == "md/unsubscribequote":
            connection.symbols.discard(symbol)
        else:
            connection.symbols.add(symbol)
            asyncio.get_running_loop().call_soon(self.show_quotes, self._firm.quotes())
        return Outcome(200, '{"mode":"RealTime"}')

    def _sync(self, connection: Connection, request_id: str, body: str) -> None:
        if connection.session is None:
            return
        asked = msgspec.json.decode(body, type=_Sync)
        user, until_ns = connection.session.user, self._firm.now_ns()
        rows_max = _PART_ROWS if asked.split_responses else None
        parts = [
            f'"{plural}":{part}'
            for kind, plural in PLURALS.items()
            for part in _arrays(list(visible(self._firm.tables.all(kind), user, until_ns)), rows_max)
        ]
        if self._firm.quirks.sync_padding_bytes:
            parts.append(
                f'"userProperties":[{{"id":1,"value":"{"x" * self._firm.quirks.sync_padding_bytes}"}}]'
            )
        connection.synced = True
        texts = parts if asked.split_responses else [",".join(parts)]
        connection.snapshot = asyncio.get_running_loop().create_task(
            self._write_parts(connection, request_id, texts)
        )

    def _send_late(self, connection: Connection, frame: str) -> None:
        connection.late -= 1
        self._send(connection, frame)

    async def _write_parts(self, connection: Connection, request_id: str, texts: Sequence[str]) -> None:
        quirks = self._firm.quirks
        late = f'"{quirks.sync_late}":'
        for number, text in enumerate(texts):
            frame = f'a[{{"s":200,"i":{request_id},"d":{{{text}}}}}]'
            if number and number == quirks.sync_cut_after:
                connection.socket.cut()
                return
            if quirks.sync_pause_s and number:
                await asyncio.sleep(quirks.sync_pause_s)
            if text.startswith(late):
                connection.late += 1
                asyncio.get_running_loop().call_later(_LATE_S, self._send_late, connection, frame)
            else:
                await connection.socket.drained()
                self._send(connection, frame)


def _arrays(rows: Sequence[Row], rows_max: int | None) -> Iterator[str]:
    """One array at least, an empty one too."""
    size = rows_max or max(1, len(rows))
    for start in range(0, max(1, len(rows)), size):
        yield array(rows[start : start + size])


def _event(change: Change, entity: str, *, arrays: bool = False) -> str:
    props = f'{{"entityType":"{change.row.kind}","eventType":"{change.event_type}","entity":{entity}}}'
    return f'{{"e":"props","d":[{props}]}}' if arrays else f'{{"e":"props","d":{props}}}'


def _now_s() -> float:
    return asyncio.get_running_loop().time()
