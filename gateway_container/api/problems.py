"""problem+json (RFC 9457), and the only place that decides an HTTP status."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from kopitra.domain.errors import LeaseLost, QueueFull, Refusal, SignalRefused, Unavailable
from kopitra.store.drafts import Duplicate
from kopitra.wire.faults import BodyRefused, FieldFault

Header = tuple[bytes, bytes]
PROBLEM_TYPE: Final = b"application/problem+json"
#: seconds a client should wait when the store or a queue is the reason
STORE_RETRY_S: Final = 1
BUSY_RETRY_S: Final = 1


class Answer(NamedTuple):
    """A finished HTTP answer. `code` is the problem's code, "" for success."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    code: str = ""


class Told(NamedTuple):
    """Status and title of a code."""

    status: int
    title: str


_UNAUTHORIZED: Final = "Who are you?"
_FORBIDDEN: Final = "Not allowed"
_HEADERS: Final = "A header is wrong"
_SYNTAX: Final = "The body cannot be read"
_INVALID: Final = "The body cannot be accepted"
_LATER: Final = "Try again"

#: code -> status and title; codes that are not here are faults of the body: 422
CODES: Final[dict[str, Told]] = {
    "missing-credentials": Told(401, _UNAUTHORIZED),
    "invalid-credentials": Told(401, _UNAUTHORIZED),
    "expired-credentials": Told(401, _UNAUTHORIZED),
    "revoked-credentials": Told(401, _UNAUTHORIZED),
    "missing-signature": Told(401, _UNAUTHORIZED),
    "invalid-signature": Told(401, _UNAUTHORIZED),
    "stale-signature": Told(401, _UNAUTHORIZED),
    "replayed-signature": Told(401, _UNAUTHORIZED),
    "invalid-ticket": Told(401, _UNAUTHORIZED),
    "account-not-allowed": Told(403, _FORBIDDEN),
    "address-not-allowed": Told(403, _FORBIDDEN),
    "role-not-allowed": Told(403, _FORBIDDEN),
    "origin-not-allowed": Told(403, _FORBIDDEN),
    "session-ended": Told(403, _FORBIDDEN),
    "session-pending": Told(403, _FORBIDDEN),
    "hook-inactive": Told(403, _FORBIDDEN),
    "not-found": Told(404, "Not found"),
    "method-not-allowed": Told(405, "Method not allowed"),
    "missing-account-header": Told(400, _HEADERS),
    "missing-idempotency-key": Told(400, _HEADERS),
    "invalid-idempotency-key": Told(400, _HEADERS),
    "invalid-request-id": Told(400, _HEADERS),
    "duplicate-header": Told(400, _HEADERS),
    "look-alike-header": Told(400, _HEADERS),
    "invalid-content-length": Told(400, _HEADERS),
    "invalid-query": Told(400, "The query is wrong"),
    "invalid-json": Told(400, _SYNTAX),
    "invalid-encoding": Told(400, _SYNTAX),
    "byte-order-mark": Told(400, _SYNTAX),
    "duplicate-key": Told(400, _SYNTAX),
    "number-not-finite": Told(400, _SYNTAX),
    "too-deep": Told(400, _SYNTAX),
    "lone-surrogate": Told(400, _SYNTAX),
    "body-incomplete": Told(400, _SYNTAX),
    "idempotency-in-progress": Told(409, "Still running"),
    "duplicate-signal": Told(409, "Known already"),
    "session-contested": Told(409, "Two at once"),
    "repair-plan-changed": Told(409, "The world has changed"),
    "flatten-under-way": Told(409, "Not now"),
    "body-too-large": Told(413, "The body is too large"),
    "unsupported-media-type": Told(415, "Wrong media type"),
    "idempotency-key-reused": Told(422, "The key was used for another body"),
    "too-many-requests": Told(429, "Too many requests"),
    "too-many-failures": Told(429, "Too many requests"),
    "queue-full": Told(503, _LATER),
    "store-unavailable": Told(503, _LATER),
    "commit-unknown": Told(503, _LATER),
    "lease-lost": Told(503, _LATER),
    "commit-pending": Told(503, _LATER),
    "not-the-holder": Told(503, _LATER),
    "switch-not-confirmed": Told(503, _LATER),
    "replay-memory-full": Told(503, _LATER),
    "internal-error": Told(500, "Our fault"),
}
_BODY_FAULT: Final = Told(422, _INVALID)


class Problem(Exception):
    """A refusal at the door. `retry_after_s` and `allow` become headers."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldFault] = (),
        retry_after_s: int | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.allow = allow


def problem_of(error: Exception) -> Problem:
    """Any error as a Problem; what we did not foresee says nothing of itself."""
    match error:
        case Problem():
            return error
        case BodyRefused():
            return Problem(error.code, error.message, errors=error.faults)
        case SignalRefused():
            return Problem(
                error.code, error.message, errors=(FieldFault(error.pointer, error.code, error.message),)
            )
        case Unavailable(code="commit-unknown"):
            return Problem(
                "commit-unknown",
                "The journal did not say whether this was written: repeat with the same Idempotency-Key, "
                "you will get the first answer, and it counts once.",
                retry_after_s=STORE_RETRY_S,
            )
        case Unavailable():
            return Problem(
                "store-unavailable",
                "The journal does not answer, so this was not accepted; try again with the same key.",
                retry_after_s=STORE_RETRY_S,
            )
        case LeaseLost():
            return Problem(
                "lease-lost",
                "Another process has taken over; try again with the same key: it counts once, whoever took it.",
                retry_after_s=STORE_RETRY_S,
            )
        case QueueFull():
            return Problem("queue-full", error.message, retry_after_s=BUSY_RETRY_S)
        case Duplicate():
            return Problem(
                "duplicate-signal", "This signalId was accepted before; read it by GET /signals/{signalId}."
            )
        case Refusal():
            return Problem(error.code, error.message)
        case _:
            return _internal()


def _internal() -> Problem:
    return Problem(
        "internal-error",
        "Something failed on our side; try again with the same Idempotency-Key, and tell us the requestId.",
    )


def is_foreseen(error: Exception) -> bool:
    """False for what needs a person: it is logged with its stack."""
    return isinstance(error, Problem | Refusal | Unavailable | LeaseLost | Duplicate)


def status_of(code: str) -> Told:
    """Status and title of a code."""
    return CODES.get(code, _BODY_FAULT)


def render(problem: Problem, request_id: str) -> Answer:
    """The answer of a problem."""
    told = status_of(problem.code)
    document: dict[str, object] = {
        "type": f"urn:kopitra:problem:{problem.code}",
        "title": told.title,
        "status": told.status,
        "code": problem.code,
        "detail": problem.detail,
        "requestId": request_id,
    }
    if problem.errors:
        document["errors"] = [fault._asdict() for fault in problem.errors]
    headers: list[Header] = [(b"content-type", PROBLEM_TYPE)]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    if problem.allow is not None:
        headers.append((b"allow", problem.allow.encode()))
    if told.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(told.status, tuple(headers), json.dumps(document).encode(), problem.code)
