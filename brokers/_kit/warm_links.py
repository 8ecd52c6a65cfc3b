"""Keeps N connections of one login open and fresh, so that no order ever waits for a handshake."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from ssl import SSLContext
from typing import Final

from brokers._kit.backoff import BackoffPolicy, backoff
from brokers._kit.http_link import HttpLink, LinkLimits, LinkOwner

_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of one pool. `links` is the number of warm connections, `waiting_max` of queued requests."""

    links: int = 4
    timeout_s: float = 2.5  #: from the write to the complete answer; afterwards the outcome is unknown
    waiting_max: int = 64
    waiting_max_s: float = 1.0  #: a request queued longer is given back unwritten
    connect_timeout_s: float = 5.0
    #: an unused link is replaced after this, before a server or NAT drops it (usual server limits: 30-130 s)
    idle_max_s: float = 25.0
    young_s: float = 1.0  #: a link that dies younger than this counts as a failed connect
    limits: LinkLimits = field(default_factory=LinkLimits)
    reconnect: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(first_s=0.25, max_s=30.0))


class WarmLinks:
    """The links of a pool. One task opens them one after the other, which is also a gentle start."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: SSLContext | None,
        *,
        owner: LinkOwner,
        clock_ns: Callable[[], int],
        rng: Random,
        settings: PoolSettings,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._owner = owner
        self._clock_ns = clock_ns
        self._rng = rng
        self._settings = settings
        self._keeper: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._failing = False
        self.links: list[HttpLink] = []
        # A stack, so that the link proven alive last is used first; sorted by free_since_ns by construction.
        self.idle: list[HttpLink] = []
        self.last_error: OSError | None = None

    def start(self) -> None:
        """Begin to open links in the background; each is given to the owner by `on_link_free`."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep_warm(), name=f"warm {self._host}")

    async def stop(self) -> None:
        """Open nothing any more; the links that are open stay."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on `links`."""
        while not condition():
            await self._changed.wait()

    def forget(self, link: HttpLink) -> None:
        """The link is gone."""
        with suppress(ValueError):
            self.idle.remove(link)
        with suppress(ValueError):
            self.links.remove(link)
        if self._clock_ns() - link.opened_ns < self._settings.young_s * _NS_PER_S:
            self._failing = True
        self._wanted.set()
        self._notify()

    async def _keep_warm(self) -> None:
        waits = backoff(self._settings.reconnect, self._rng)
        while True:
            stale = self._stale_link()
            if stale is None and len(self.links) >= self._settings.links:
                await self._until_wanted()
                continue
            if self._failing:
                await asyncio.sleep(next(waits))
            link = await self._open()
            if link is None or not await self._survives(link):
                self._failing = True
                continue
            self._failing = False
            waits = backoff(self._settings.reconnect, self._rng)
            if stale is not None and stale in self.idle:
                stale.fail("closed")

    async def _open(self) -> HttpLink | None:
        link = HttpLink(self._owner, self._settings.limits, self._clock_ns)
        name = self._host if self._tls is not None else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await loop.create_connection(
                    lambda: link, self._host, self._port, ssl=self._tls, server_hostname=name
                )
        except OSError as error:  # TimeoutError and every TLS error are OSErrors
            self.last_error = error
            return None
        if not link.alive:
            return None
        self.links.append(link)
        self._owner.on_link_free(link)
        self._notify()
        return link

    async def _survives(self, link: HttpLink) -> bool:
        """While failing, trust a new link only after it lived: some servers accept and hang up at once."""
        if self._failing:
            await asyncio.sleep(self._settings.young_s)
        return link.alive

    def _stale_link(self) -> HttpLink | None:
        oldest = self.idle[0] if self.idle else None
        if oldest is None:
            return None
        return (
            oldest
            if self._clock_ns() - oldest.free_since_ns > self._settings.idle_max_s * _NS_PER_S
            else None
        )

    async def _until_wanted(self) -> None:
        self._wanted.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.idle_max_s / 2):
                await self._wanted.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
