"""An EA at the door: one sender with a queue on its disk, which tries each act with the same key until it is answered.

It is as rude as real ones: requests and answers get lost, the same request leaves twice at once, and whatever it was
told is remembered, so that two answers to one key can be compared (I-15).
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final, NamedTuple

from tests.faults.knock import Knock, Reply

#: seconds that an EA waits for an answer, and between two tries
ANSWER_WAIT_S: Final = 2.0
RETRY_S: Final = 0.4
SIGNALS: Final = "/trade-agent/v1/signals"


class Told(NamedTuple):
    """An act that was accepted: its signal and what was answered."""

    signal_id: str
    action: str
    root: str
    at_s: float


@dataclass(slots=True)
class EaClient:
    """One EA of one leader. `position` is the truth about the leader, by product."""

    knock: Knock
    headers: Mapping[str, str]
    now: Callable[[], datetime]
    rng: Random
    #: share of requests or answers that get lost on this side, and of requests that leave twice
    loss: float = 0.0
    twice: float = 0.0
    numbered: bool = True
    on_told: Callable[[Told], None] = lambda _told: None
    on_trace: Callable[[str], None] = lambda _line: None
    position: dict[str, int] = field(default_factory=dict[str, int])
    resting: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    #: key -> the body of its first answer
    answers: dict[str, bytes] = field(default_factory=dict[str, bytes])
    disagreements: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    #: signals that were tried; True: one try went without an answer, so that nobody knew what became of it (I-04)
    tried: dict[str, bool] = field(default_factory=dict[str, bool])
    _queue: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _number: int = 0

    @property
    def is_idle(self) -> bool:
        """Everything it had to say was answered."""
        return not self._queue

    def act(self, action: str, **fields: object) -> None:
        """The leader did something: on the disk it goes, and out when its turn comes."""
        self._number += 1
        body: dict[str, object] = {
            "signalId": f"ea-{self._number}",
            "action": action,
            "occurredAt": self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **fields,
        }
        if self.numbered:
            body["leaderSequence"] = self._number
        self._queue.append(body)
        self._wake.set()

    async def run(self) -> None:
        """Send, one after the other, for ever."""
        while True:
            while self._queue:
                await self._until_answered(self._queue[0])
                self._queue.pop(0)
            self._wake.clear()
            await self._wake.wait()

    async def _until_answered(self, body: Mapping[str, object]) -> None:
        key = f"key-{body['signalId']}"
        raw = json.dumps(body).encode()
        while True:
            if self.rng.random() < self.twice:
                asyncio.get_running_loop().create_task(self._try(key, raw))
            reply = await self._try(key, raw)
            self._note_try(str(body["signalId"]), reply)
            if reply is not None and self._is_final(reply, body):
                return
            await asyncio.sleep(RETRY_S)

    def _note_try(self, signal_id: str, reply: Reply | None) -> None:
        self.tried[signal_id] = self.tried.get(signal_id, False) or reply is None

    async def _try(self, key: str, raw: bytes) -> Reply | None:
        """One request; None when nothing came back."""
        if self.rng.random() < self.loss:
            return None
        headers = {**self.headers, "idempotency-key": key}
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                reply = await self.knock("POST", SIGNALS, headers, raw)
        except TimeoutError:
            return None
        if self.rng.random() < self.loss:
            return None
        if reply.status == 202:
            self._compare(key, reply)
        return reply

    def _compare(self, key: str, reply: Reply) -> None:
        first = self.answers.setdefault(key, reply.body)
        if first != reply.body:
            self.disagreements.append(f"{key}: {first!r} and then {reply.body!r}")

    def _is_final(self, reply: Reply, body: Mapping[str, object]) -> bool:
        signal_id, action = str(body["signalId"]), str(body["action"])
        self.on_trace(f"ea {signal_id} {action} {reply.status}")
        if reply.status == 202:
            self.on_told(
                Told(signal_id, action, str(body.get("symbol", "")), asyncio.get_running_loop().time())
            )
            return True
        if reply.status in (409, 429, 500, 502, 503, 504):
            return False
        self.on_trace(f"REFUSED {reply.body.decode()[:300]}")
        self.refused.append(f"{signal_id} {action}: {reply.status} {reply.body.decode()}")
        return True

    # what the leader does -----------------------------------------------------------------------------------

    def trade(self, root: str, qty: int, **more: object) -> None:
        """Buy (above zero) or sell at the market; the word for it follows from what it holds."""
        before = self.position.get(root, 0)
        after = before + qty
        self.position[root] = after
        side = "buy" if qty > 0 else "sell"
        place = {"leaderPosition": after} if self.rng.random() < 0.5 else {}
        if before == 0 or before * qty > 0:
            name = {"leaderOrderId": f"lo-{self._number + 1}"} if self.numbered else {}
            action = "enter" if before == 0 else "add"
            self.act(action, symbol=root, side=side, quantity=abs(qty), **place, **name, **more)
        elif after == 0:
            self.act("exit", symbol=root, **place)
        elif before * after < 0:
            self.act("reverse", symbol=root, side=side, quantity=abs(after), **place)
        else:
            self.act("reduce", symbol=root, side=side, quantity=abs(qty), **place)

    def rest(self, root: str, qty: int, price: str) -> None:
        """A limit order far from the market."""
        name = f"rest-{self._number + 1}"
        side = "buy" if qty > 0 else "sell"
        self.resting[name] = (root, side)
        self.act(
            "enter",
            symbol=root,
            side=side,
            quantity=abs(qty),
            ordType="limit",
            price=price,
            leaderOrderId=name,
        )

    def move(self, name: str, price: str) -> None:
        """Another price for a resting order."""
        self.act("replace", symbol=self.resting[name][0], leaderOrderId=name, price=price)

    def cancel(self, name: str) -> None:
        """Take a resting order back."""
        root, _ = self.resting.pop(name)
        self.act("cancel", symbol=root, leaderOrderId=name)

    def leave(self, root: str) -> None:
        """Out of a product: resting orders first, then the position."""
        for name in [n for n, (r, _) in self.resting.items() if r == root]:
            self.cancel(name)
        self.position[root] = 0
        self.act("exit", symbol=root, leaderPosition=0)
