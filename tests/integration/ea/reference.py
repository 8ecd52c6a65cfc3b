"""An expert advisor as docs/ea.md wants it, in Python: what it has to tell lies on disk until it was accepted.

It derives acts by comparing what it holds with what it told of, numbers them, and sends them in order with a short
timeout and the same event id at each try. Killed at any point and started again it loses and doubles nothing.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import msgspec

from kopitra.domain.ea_sessions import positions_hash

Json = dict[str, object]


class Killed(Exception):
    """The terminal dies here."""


class _Asked(msgspec.Struct):
    """The payload of a SyncRequest."""

    reason: str
    leaderSequence: int  # noqa: N815 - its name on the wire


class State(msgspec.Struct):
    """Everything that must survive."""

    sequence: int = 0
    #: product -> what the newest act told of
    told: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    queue: list[Json] = msgspec.field(default_factory=list[Json])
    token: str = ""
    cursor: int = 0
    #: sessions opened so far
    opened: int = 0
    install: str = msgspec.field(default_factory=lambda: os.urandom(4).hex())


class Disk:
    """Two files. Every write is whole or not at all: a new file takes the old one's place."""

    def __init__(self, folder: Path, crash: Callable[[str], None] = lambda _where: None) -> None:
        self._path = folder / "ea.json"
        self.crash = crash
        self.state = State()
        if self._path.exists():
            self.state = msgspec.json.decode(self._path.read_bytes(), type=State)

    def save(self) -> None:
        """Durable when it returns."""
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(self.state))
            file.flush()
            os.fsync(file.fileno())
        self.crash("before-rename")
        new.replace(self._path)
        self.crash("after-rename")


class Reply(Protocol):
    """An HTTP answer."""

    @property
    def status_code(self) -> int: ...
    def json(self) -> Json: ...


class Http(Protocol):
    """One request, with a timeout of a second or two; None when there was no answer."""

    async def __call__(
        self, method: str, path: str, headers: dict[str, str], body: Json | None
    ) -> Reply | None: ...


@dataclass(slots=True)
class ReferenceEa:
    """`look` whenever the terminal's positions may have changed, `step` on a timer."""

    disk: Disk
    http: Http
    key: str
    account: str
    positions: Callable[[], dict[str, Decimal]]
    #: sent so far
    snapshots: int = 0

    # deriving acts -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Compare what is held with what was told, and queue the difference as acts (R-034)."""
        state = self.disk.state
        told = dict(state.told)
        held = self.positions()
        queue = list(state.queue)
        for root in sorted(told.keys() | held.keys()):
            was, now = Decimal(told.get(root, "0")), held.get(root, Decimal(0))
            if was == now:
                continue
            state.sequence = state.sequence + 1
            number = state.sequence
            queue.append({**_act(root, was, now, number), "eventId": f"{state.install}-{number}"})
            told[root] = str(now)
        if len(queue) != len(state.queue):
            state.queue, state.told = queue, told
            self.disk.save()  # the act, its number and what was told: one write, so all of them or none

    # talking -----------------------------------------------------------------------------------------------

    async def step(self) -> None:
        """One round: session, queue, heartbeat, outbox."""
        if not self.disk.state.token and not await self._open():
            return
        if await self._drain():
            await self._beat()
            await self._hear()

    async def _open(self) -> bool:
        state = self.disk.state
        body: Json = {
            "authMethod": "account_session_key",
            "authenticationKey": self.key,
            "platform": "python",
        }
        reply = await self._call("POST", "/sessions", body, f"{state.install}-open-{state.opened}", self.key)
        if reply is None or reply.status_code != 201:
            return False
        state.token, state.cursor = str(reply.json()["sessionToken"]), 0
        state.opened = state.opened + 1
        self.disk.save()
        return True

    async def _drain(self) -> bool:
        """Send what is queued, oldest first; it leaves the disk when it was accepted."""
        state = self.disk.state
        while state.queue:
            first = state.queue[0]
            self.disk.crash("before-send")
            reply = await self._tell(first, str(first["eventId"]))
            self.disk.crash("after-send")
            if reply is None or reply.status_code >= 500 or reply.status_code in (403, 409, 429):
                return False  # unknown or later: the same again, with the same id
            if reply.status_code != 202:
                raise AssertionError(reply.json())  # a defect of ours: a person must look
            state.queue = state.queue[1:]
            self.disk.save()
        return True

    async def _beat(self) -> None:
        payload: Json = {"leaderSequence": self.disk.state.sequence, "positionsHash": self._hash()}
        await self._tell({"eventType": "StatusHeartbeat", "payload": payload}, f"beat-{_now()}")

    def _hash(self) -> str:
        told = dict(self.disk.state.told)
        return positions_hash((root, Decimal(qty)) for root, qty in told.items())

    async def _hear(self) -> None:
        state = self.disk.state
        reply = await self._call("GET", f"/sessions/current/outbox?cursor={state.cursor}", None, "", None)
        if reply is None or reply.status_code != 200:
            return
        answer = reply.json()
        events: list[Json] = answer["events"]  # pyright: ignore[reportAssignmentType]
        for event in events:
            if event["eventType"] == "SyncRequest":
                await self._snapshot(event)
        done = [event["id"] for event in events if event["requiresAck"]]
        if done:
            await self._tell({"eventType": "OutboxAck", "payload": {"eventIds": done}}, f"ack-{_now()}")
        state.cursor = msgspec.convert(answer["cursor"], int)

    async def _snapshot(self, asked: Json) -> None:
        """Everything that is held, at the number of the last act; the queue is empty by now."""
        state, wanted = self.disk.state, msgspec.convert(asked["payload"], _Asked)
        if wanted.leaderSequence > state.sequence:  # our disk is older than what we told
            state.sequence = wanted.leaderSequence
            self.disk.save()
        told = dict(self.disk.state.told)
        held = [{"symbol": root, "quantity": qty} for root, qty in told.items()]
        payload: Json = {"leaderSequence": self.disk.state.sequence, "positions": held, "takenAt": _now()}
        event: Json = {"eventType": "SyncSnapshot", "payload": payload}
        await self._tell(event, f"sync-{asked['id']}-{_now()}")
        self.snapshots += 1

    async def _tell(self, event: Json, key: str) -> Reply | None:
        reply = await self._call("POST", "/sessions/current/inbox", {"events": [event]}, key, None)
        if reply is not None and reply.status_code in (401, 403):
            await self._lost(reply)
        return reply

    async def _lost(self, reply: Reply) -> None:
        """The session has ended: another one."""
        if reply.json()["code"] in ("session-ended", "invalid-credentials"):
            self.disk.state.token = ""
            self.disk.save()

    async def _call(
        self, method: str, path: str, body: Json | None, key: str, bearer: str | None
    ) -> Reply | None:
        headers = {
            "Authorization": f"Bearer {bearer or self.disk.state.token}",
            "X-TradeAgent-Account": self.account,
            **({"Idempotency-Key": key} if key else {}),
        }
        return await self.http(method, path, headers, body)


def _act(root: str, was: Decimal, now: Decimal, sequence: int) -> Json:
    """What brings followers from one position to the other."""
    common: Json = {
        "symbol": root, "leaderPosition": str(now), "leaderSequence": sequence, "occurredAt": _now()
    }  # fmt: skip
    if now == 0:
        act: Json = {"action": "exit"}
    elif was * now > 0 and abs(now) < abs(was):
        act = {"action": "reduce", "quantity": str(abs(was) - abs(now))}
    else:
        step = now - was
        kind = "add" if was * now > 0 else "reverse" if was else "enter"
        act = {"action": kind, "side": "buy" if step > 0 else "sell"}
        if kind != "reverse":
            act["quantity"] = str(abs(step))
    return {"eventType": "OrderIntent", "payload": {**act, **common}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
