"""A thin HTTP client for login, lookups, snapshots and reconciliation. Never for an order: see order_http.

Nothing is repeated and no redirect is followed here. A lookup that failed may be asked again by its caller,
who knows whether it changes anything at the broker.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx2
import msgspec

from brokers._kit.backoff import told_s
from brokers._kit.budget import SILENCE_MAX_S, TRY_AGAIN_S
from brokers._kit.tls import tls_for
from kopitra.domain.errors import Disconnected, ProtocolViolation, SessionError, Throttled

T = TypeVar("T")

_CLOSE_WAIT_S: Final = 1.0  #: how long exchanges that nobody waits for any more may take to notice the end
#: how coarse the time of an HTTP Date header is
DATE_RESOLUTION_MS: Final = 1_000


class TokenRefused(Disconnected):
    """HTTP 401: the token is expired or unknown; get a new one, then ask again."""


@dataclass(frozen=True, slots=True)
class RestSettings:
    """Limits of one client."""

    timeout_s: float = 10.0  #: to connect, and between any two pieces of an answer
    body_bytes_max: int = 32 * 1024 * 1024
    connections_max: int = 4


@dataclass(frozen=True, slots=True)
class RestReply:
    """A complete answer of any status."""

    status: int
    body: bytes
    retry_after: str = ""

    def ok(self) -> bytes:
        """The body of a 2xx; else raises `as_error`, whose silence lasts `TRY_AGAIN_S` at most.

        For the steps of a session's life, without which no exit can leave: no Retry-After shuts them for a day.
        """
        if 200 <= self.status < 300:
            return self.body
        raise self.as_error(TRY_AGAIN_S)

    def as_error(self, silence_max_s: float = SILENCE_MAX_S) -> SessionError:
        """TokenRefused for 401, Throttled for 429, Disconnected for 5xx, else ProtocolViolation."""
        if self.status == 401:
            return TokenRefused("the broker refused the token (HTTP 401): log in again")
        if self.status == 429:
            wait_s = told_s(self.retry_after, silence_max_s)
            text = f"the broker asks for silence (HTTP 429): the next try is in {wait_s:.0f} s"
            return Throttled(text, retry_after_s=wait_s)
        if self.status >= 500:
            return Disconnected(f"the broker has a fault of its own (HTTP {self.status}): ask again later")
        return ProtocolViolation(f"unexpected HTTP {self.status}: check the address and the account's rights")


def _verified(base_url: str, tls: SSLContext | bool) -> SSLContext | bool:
    return (tls_for(base_url) or False) if tls is True else tls


class RestClient:
    """Keep-alive connections to one host. `base_url` holds scheme, host and any path prefix."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: SSLContext | bool = True,
        headers: Mapping[str, str] | None = None,
        settings: RestSettings | None = None,
        on_date: Callable[[datetime], None] | None = None,
    ) -> None:
        """`on_date` hears the server's clock (UTC, whole seconds) with each answer that tells it."""
        self._on_date = on_date
        self._settings = settings or RestSettings()
        self._asked: set[asyncio.Task[RestReply]] = set()  # bounded: by who asks, and by timeout_s
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            headers={"Accept": "application/json", **(headers or {})},
            timeout=httpx2.Timeout(self._settings.timeout_s),
            limits=httpx2.Limits(max_connections=self._settings.connections_max),
            transport=httpx2.AsyncHTTPTransport(
                verify=_verified(base_url, tls),
                retries=0,
                limits=httpx2.Limits(max_connections=self._settings.connections_max),
            ),
            follow_redirects=False,
            trust_env=False,  # no password of a .netrc, no proxy of an environment
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; exchanges in hand end with them."""
        await self._client.aclose()
        if self._asked:
            _, late = await asyncio.wait(self._asked, timeout=_CLOSE_WAIT_S)
            for task in late:
                task.cancel()

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> RestReply:
        """GET; raises Disconnected when no complete answer came, ProtocolViolation when it is too large."""
        return await self._exchange("GET", path, None, query, headers)

    async def post(
        self, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> RestReply:
        """POST of JSON bytes, once; errors as `get`."""
        return await self._exchange(
            "POST", path, body, None, {"Content-Type": "application/json", **(headers or {})}
        )

    async def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
    ) -> RestReply:
        # A task of its own: a canceled caller leaves at once, but the pool finishes its housekeeping. Canceled in
        # the middle of closing dead connections, it would forget the others and leave them open.
        task = asyncio.create_task(self._once(method, path, body, query, headers), name=f"rest {path}")
        self._asked.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[RestReply]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when its caller has left

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
    ) -> RestReply:
        if self._client.is_closed:
            raise Disconnected(f"{method} {path} is not asked: the session is closed")
        try:
            async with self._client.stream(
                method, path, content=body, params=query, headers=headers
            ) as reply:
                self._tell_date(reply.headers.get("Date", ""))
                content = await self._bounded(reply)
                return RestReply(reply.status_code, content, reply.headers.get("Retry-After", ""))
        except httpx2.TransportError as error:
            raise Disconnected(
                f"{method} {path} has no answer: {type(error).__name__}; check the network"
            ) from error
        except httpx2.DecodingError as error:
            raise ProtocolViolation(f"{method} {path} answered with a body that does not decode") from error

    def _tell_date(self, text: str) -> None:
        if self._on_date is None or not text:
            return
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return  # a clock that does not read is no clock
        if at.tzinfo is not None:
            self._on_date(at)

    async def _bounded(self, reply: httpx2.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in reply.aiter_bytes():
            size += len(piece)
            if size > self._settings.body_bytes_max:
                raise ProtocolViolation(
                    f"an answer above {self._settings.body_bytes_max} bytes; ask for less"
                )
            pieces.append(piece)
        return b"".join(pieces)


def decoded(body: bytes, shape: type[T]) -> T:
    """JSON as a msgspec type (a Struct, a list); ProtocolViolation names the place, not the content."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"an answer does not parse as {shape!r}: {error}") from error
