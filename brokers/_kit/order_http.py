"""The order session over HTTP: N warm keep-alive connections of one login, one-shot by construction.

`send` is synchronous and writes at most once. Nothing here retries, redirects or pipelines: a request is
written to one link, and ends in exactly one `HttpReply` or `Lost`. A general HTTP client costs 5 to 98
times the CPU of this (measured, see bench/), and may resend after a dropped connection.
"""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from ssl import SSLContext
from typing import Final, Literal

from brokers._kit.http_link import HttpLink, HttpReply, Lost, LostReason, OnReply
from brokers._kit.warm_links import PoolSettings, WarmLinks

__all__ = ["HttpReply", "Lost", "NotSent", "OnReply", "OrderHttpPool", "PoolSettings", "Sent"]

_NS_PER_S: Final = 1_000_000_000


class Sent(Enum):
    """`WRITTEN`: the bytes are with the transport. `WAITING`: queued, nothing written, can be withdrawn."""

    WRITTEN = auto()
    WAITING = auto()


@dataclass(frozen=True, slots=True)
class NotSent:
    """Refused here and now; no byte was written and `on_reply` will not be called."""

    reason: Literal["no-connection", "busy", "duplicate-key", "closed"]


@dataclass(frozen=True, slots=True)
class _Request:
    """One queued request."""

    key: Hashable
    serial: Hashable | None
    payload: bytes
    on_reply: OnReply
    since_ns: int


_DUPLICATE: Final = NotSent("duplicate-key")
_NO_CONNECTION: Final = NotSent("no-connection")
_BUSY: Final = NotSent("busy")
_CLOSED: Final = NotSent("closed")
_WRITTEN: Final = Sent.WRITTEN  # the enum's own look-up costs as much as a call


class OrderHttpPool:
    """Warm connections to one host for one login. Every method must run on the loop's thread."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: SSLContext | None,
        *,
        clock_ns: Callable[[], int],
        rng: Random,
        settings: PoolSettings | None = None,
        may_write: Callable[[Hashable], bool] | None = None,
        on_writable: Callable[[], None] | None = None,
    ) -> None:
        """`may_write(key)` is the last look at a request that had to wait, just before it is written.

        `on_writable` is called once after `send` had refused with "busy" and a link is free again.
        """
        self._clock_ns = clock_ns
        self._settings = settings or PoolSettings()
        self._warm = WarmLinks(
            host, port, tls, owner=self, clock_ns=clock_ns, rng=rng, settings=self._settings
        )
        self._links = self._warm.links
        self._idle = self._warm.idle
        self._may_write = may_write
        self._on_writable = on_writable
        self._refused_busy = False
        self._waiting: dict[Hashable, _Request] = {}  # in order of arrival
        self._keys: set[Hashable] = set()  # in flight or waiting
        self._serials: set[Hashable] = set()  # in flight
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns = 0
        self._timeout_ns = int(self._settings.timeout_s * _NS_PER_S)
        self._waiting_max_ns = int(self._settings.waiting_max_s * _NS_PER_S)
        self._closed = False

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open and keep open `settings.links` connections, in the background."""
        self._warm.start()

    async def ready(self, links: int = 1) -> None:
        """Return when at least `links` connections are open; bound it with `asyncio.timeout`."""
        await self._warm.until(lambda: len(self._links) >= links)

    async def close(self, drain_s: float = 2.5) -> None:
        """Give back what waits, let answers in flight arrive for at most `drain_s`, then close everything."""
        self._closed = True
        for request in list(self._waiting.values()):
            self._give_back(request, "closed")
        await self._warm.stop()
        for link in list(self._idle):
            link.fail("closed")
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._warm.until(lambda: not self._links)
        for link in list(self._links):
            link.fail("closed")
        if self._timer is not None:
            self._timer.cancel()

    @property
    def last_error(self) -> OSError | None:
        """Why the latest connect failed, if one did."""
        return self._warm.last_error

    @property
    def open_links(self) -> int:
        return len(self._links)

    @property
    def has_idle(self) -> bool:
        """A request would be written at once."""
        return bool(self._idle)

    @property
    def in_flight(self) -> int:
        return len(self._links) - len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # -- the hot path ----------------------------------------------------------------------------------

    def send(
        self, request: bytes, on_reply: OnReply, *, key: Hashable, serial: Hashable | None = None
    ) -> Sent | NotSent:
        """Write `request` (a complete HTTP/1.1 message) now, or queue it, or refuse; never twice.

        `key` names the request while it lives here. Requests with equal `serial` (account and symbol) are
        answered in the order sent: the next is written only after the answer, or loss, of the one before.
        Unless `NotSent` is returned or the request is withdrawn, `on_reply` is called exactly once. It must
        not raise; it may send.
        """
        if key in self._keys:
            return _DUPLICATE
        if self._idle and (serial is None or serial not in self._serials):
            self._keys.add(key)
            self._write(request, on_reply, key, serial)
            return _WRITTEN
        if self._closed or not self._links:
            return _CLOSED if self._closed else _NO_CONNECTION
        if len(self._waiting) >= self._settings.waiting_max:
            self._refused_busy = True
            return _BUSY
        return self._enqueue(_Request(key, serial, request, on_reply, self._clock_ns()))

    def withdraw(self, key: Hashable) -> bool:
        """True proves that nothing was or will be written for `key`; False: not waiting here (any more)."""
        if self._waiting.pop(key, None) is None:
            return False
        self._keys.discard(key)
        return True

    def withdraw_all(self) -> list[Hashable]:
        """Withdraw everything that waits (a kill switch); the keys returned were never written."""
        keys = list(self._waiting)
        self._waiting.clear()
        self._keys.difference_update(keys)
        return keys

    def _write(self, request: bytes, on_reply: OnReply, key: Hashable, serial: Hashable | None) -> None:
        if serial is not None:
            self._serials.add(serial)
        link = self._idle.pop()
        link.write(request, on_reply, (key, serial))
        if self._timer is None:
            self._arm(link.sent_ns + self._timeout_ns, link.sent_ns)

    # -- the queue in front of busy links ----------------------------------------------------------------

    def _enqueue(self, request: _Request) -> Sent:
        self._keys.add(request.key)
        self._waiting[request.key] = request
        due_ns = request.since_ns + self._waiting_max_ns
        if self._timer is None or due_ns < self._timer_due_ns:
            self._arm(due_ns, request.since_ns)
        return Sent.WAITING

    def _pump(self) -> None:
        while self._idle and (request := self._next_waiting()) is not None:
            if self._may_write is not None and not self._may_write(request.key):
                self._give_back(request, "withdrawn")
                continue
            del self._waiting[request.key]
            self._write(request.payload, request.on_reply, request.key, request.serial)
        if self._idle and self._refused_busy:
            self._refused_busy = False
            if self._on_writable is not None:
                self._on_writable()

    def _next_waiting(self) -> _Request | None:
        free = (r for r in self._waiting.values() if r.serial is None or r.serial not in self._serials)
        return next(free, None)

    def _give_back(self, request: _Request, reason: LostReason) -> None:
        if self._waiting.pop(request.key, None) is not None:
            self._keys.discard(request.key)
            request.on_reply(Lost(reason, written=False))

    # -- LinkOwner -------------------------------------------------------------------------------------

    def on_link_free(self, link: HttpLink) -> None:
        self._release(link)
        if self._closed:
            link.fail("closed")
            return
        self._idle.append(link)
        if self._waiting or self._refused_busy:
            self._pump()

    def on_link_gone(self, link: HttpLink) -> None:
        self._release(link)
        self._warm.forget(link)
        if self._links:
            self._pump()
            return
        for request in list(self._waiting.values()):
            self._give_back(request, "disconnected")

    def _release(self, link: HttpLink) -> None:
        tag, link.tag = link.tag, None
        if tag is not None:
            key, serial = tag
            self._keys.discard(key)
            if serial is not None:
                self._serials.discard(serial)

    # -- deadlines: one timer per pool, always at the earliest one ---------------------------------------

    def _arm(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_ns = due_ns
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0, due_ns - now_ns) / _NS_PER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_ns = self._clock_ns()
        try:
            for link in list(self._links):
                if link.busy and now_ns - link.sent_ns >= self._timeout_ns:
                    link.fail("timeout")
            for request in list(self._waiting.values()):
                if now_ns - request.since_ns >= self._waiting_max_ns:
                    self._give_back(request, "waited-too-long")
        finally:
            self._arm_next(now_ns)

    def _arm_next(self, now_ns: int) -> None:
        dues = [link.sent_ns + self._timeout_ns for link in self._links if link.busy]
        dues += [request.since_ns + self._waiting_max_ns for request in self._waiting.values()]
        if dues:
            self._arm(min(dues), now_ns)
