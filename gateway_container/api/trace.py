"""What is remembered of one request from its first byte to its answer."""

from datetime import datetime
from itertools import count
from secrets import token_hex

from starlette.types import Scope

from gateway_container.api.doors import Served
from gateway_container.api.headers import request_id_of
from gateway_container.api.problems import Answer
from kopitra.ports import Clock

#: bytes of chance in the ids of one process
_PREFIX_BYTES = 6


class RequestIds:
    """Ids for requests that bring none: unique by process and count."""

    def __init__(self) -> None:
        self._prefix = f"rq{token_hex(_PREFIX_BYTES)}-"
        self._count = count(1)

    def of(self, scope: Scope) -> str:
        """The client's id where it can be echoed, else a new one."""
        return request_id_of(scope) or f"{self._prefix}{next(self._count)}"


class Trace:
    """One request. `received_at` is stamped before anything else is looked at."""

    __slots__ = (
        "code",
        "method",
        "principal",
        "received_at",
        "received_ns",
        "request_id",
        "route",
        "signal_id",
        "workspace",
    )

    def __init__(self, clock: Clock, ids: RequestIds, scope: Scope) -> None:
        self.received_ns: int = clock.monotonic_ns()
        self.received_at: datetime = clock.now()
        self.request_id = ids.of(scope)
        self.method: str = scope.get("method", "WS")
        self.route = ""
        self.workspace = ""
        self.principal = ""
        self.signal_id = ""
        #: problem code of the answer, "" for success
        self.code = ""

    def known(self, workspace: str, principal: str) -> None:
        """The caller is known."""
        self.workspace = workspace
        self.principal = principal

    def served(self, status: int, code: str, now_ns: int) -> Served:
        """The record of the answered request."""
        return Served(
            self.route,
            self.method,
            status,
            code,
            self.request_id,
            self.workspace,
            self.principal,
            self.signal_id,
            now_ns - self.received_ns,
        )


def headers_of(answer: Answer, request_id: str) -> list[tuple[bytes, bytes]]:
    """All headers of an answer that this house writes itself."""
    return [
        *answer.headers,
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-tradeagent-request-id", request_id.encode()),
        *GUARDS,
    ]


#: on every answer: it is data, it is not to be guessed at, it is not to be kept
GUARDS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
