"""One token per login, fetched by one flight however many callers wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, Generic, TypeVar

from brokers._kit.backoff import BackoffPolicy, backoff
from kopitra.domain.errors import LoginRefused, ProtocolViolation, SessionError, Throttled

T = TypeVar("T")

_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Issued(Generic[T]):
    """What a login or renewal returned: `value` is the token as the adapter likes it."""

    value: T
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """When to renew: at `refresh_at` of the lifetime, up to `spread` of the lifetime earlier, by chance."""

    refresh_at: float = 0.75
    spread: float = 0.05
    retry: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(first_s=2.0, max_s=60.0))


class TokenHolder(Generic[T]):
    """Holds the token of one login.

    `fetch(previous)` logs in, or renews `previous` if it is not None; it raises LoginRefused (fatal: kept and
    raised to everybody until `reset`, because trying again can lock the user), Throttled (kept until its time
    is over) or another SessionError (may be tried again).
    """

    def __init__(
        self,
        fetch: Callable[[T | None], Awaitable[Issued[T]]],
        *,
        clock_ns: Callable[[], int],
        rng: Random,
        policy: TokenPolicy | None = None,
        on_new: Callable[[T], None] | None = None,
    ) -> None:
        """`on_new` hears every token at once, before any caller: to rebuild request heads."""
        self._fetch = fetch
        self._clock_ns = clock_ns
        self._rng = rng
        self._policy = policy or TokenPolicy()
        self._on_new = on_new
        self._value: T | None = None
        self._refresh_ns = 0
        self._expires_ns = 0
        self._refused: LoginRefused | None = None
        self._quiet_until_ns = 0
        self._flight: asyncio.Task[T] | None = None

    @property
    def current(self) -> T | None:
        """The token if it has not expired; without waiting, for the hot path."""
        return self._value if self._clock_ns() < self._expires_ns else None

    async def get(self) -> T:
        """The living token at once; without one a fetch that concurrent callers share, with its outcome.

        A token that is due is renewed by `keep_fresh`: a login server that hangs must not hold up a read.
        """
        value = self.current
        return value if value is not None else await self._shared_fetch()

    async def renew(self) -> T:
        """Fetch now, whatever the age of the present token; joins a fetch that is already under way."""
        return await self._shared_fetch()

    def invalidate(self, value: T) -> None:
        """The server refused `value`: forget it unless a newer one is here already."""
        if value == self._value:
            self._value = None
            self._expires_ns = self._refresh_ns = 0

    def reset(self) -> None:
        """New credentials: a refusal of the old ones counts no longer."""
        self._refused = None
        self._value = None
        self._expires_ns = self._refresh_ns = 0

    async def keep_fresh(self) -> None:
        """Renew in time, for ever, while others may `get` too; raises LoginRefused when refused."""
        waits = backoff(self._policy.retry, self._rng)
        while True:
            wait_ns = self._refresh_ns - self._clock_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / _NS_PER_S)
                continue
            try:
                await self.renew()
                waits = backoff(self._policy.retry, self._rng)
            except LoginRefused:
                raise
            except Throttled as error:
                await asyncio.sleep(max(error.retry_after_s, next(waits)))
            except SessionError:
                await asyncio.sleep(next(waits))

    async def _shared_fetch(self) -> T:
        self._check_allowed()
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._fetch_once(), name="token fetch")
            self._flight.add_done_callback(self._landed)
        # Shielded: one caller that gives up must not take the token from the others.
        return await asyncio.shield(self._flight)

    def _check_allowed(self) -> None:
        if self._refused is not None:
            raise LoginRefused(self._refused.message, code=self._refused.code)
        left_ns = self._quiet_until_ns - self._clock_ns()
        if left_ns > 0:
            left_s = left_ns / _NS_PER_S
            raise Throttled(f"the login asks for {left_s:.0f} s of silence", retry_after_s=left_s)

    async def _fetch_once(self) -> T:
        started_ns = self._clock_ns()  # the lifetime may begin when the server issues, so count from before
        try:
            issued = await self._fetch(self.current)
        except LoginRefused as error:
            self._refused = error
            raise
        except Throttled as error:
            self._quiet_until_ns = self._clock_ns() + int(error.retry_after_s * _NS_PER_S)
            raise
        if issued.lifetime_s <= 0:
            raise ProtocolViolation("the new token has expired already: check the clock of this machine")
        lifetime_ns = int(issued.lifetime_s * _NS_PER_S)
        share = self._policy.refresh_at - self._policy.spread * self._rng.random()
        self._refresh_ns = started_ns + int(lifetime_ns * share)
        self._expires_ns = started_ns + lifetime_ns
        self._value = issued.value
        if self._on_new is not None:
            self._on_new(issued.value)
        return issued.value

    def _landed(self, flight: asyncio.Task[T]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # marks it as seen, should every caller have given up
