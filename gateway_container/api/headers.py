"""Request headers, collected once; what is doubled, disguised or contradictory is refused (S-32)."""

import re
from typing import Final, NamedTuple

from starlette.types import Scope

from gateway_container.api.problems import Problem

#: bytes of a body on this API (API.md)
BODY_BYTES_MAX: Final = 64 * 1024

_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"idempotency-key",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"transfer-encoding",
        b"x-tradeagent-account",
        b"x-tradeagent-request-id",
        b"x-tradeagent-timestamp",
        b"x-tradeagent-signature",
        b"x-forwarded-for",
        b"origin",
    }
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_IDEMPOTENCY_KEY: Final = re.compile(rb"[ -~]{1,128}")
_JSON_TYPE: Final = re.compile(rb"application/json(?:\s*;\s*charset\s*=\s*\"?utf-8\"?)?\s*", re.IGNORECASE)


class Headers(NamedTuple):
    """The headers we look at; None where absent."""

    found: dict[bytes, bytes]

    def get(self, name: bytes) -> bytes | None:
        """One header."""
        return self.found.get(name)


def collect(scope: Scope) -> Headers:
    """One pass over the request's headers. Raises Problem.

    Of several X-Forwarded-For lines the last counts: the proxy next to us appended it.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _SINGLE:
            if name in found and name != b"x-forwarded-for":
                raise Problem("duplicate-header", f"The header {name.decode()} stands twice; send it once.")
            found[name] = value
        elif b"_" in name and name.replace(b"_", b"-") in _SINGLE:
            raise Problem(
                "look-alike-header",
                f"The header {name.decode()} looks like a known one; write it with hyphens.",
            )
    if b"content-length" in found:
        _check_length(found)
    return Headers(found)


def _check_length(found: dict[bytes, bytes]) -> None:
    text = found[b"content-length"]
    if b"transfer-encoding" in found or not text.isdigit() or len(text) > 19:
        raise Problem(
            "invalid-content-length", "Send one decimal Content-Length, or Transfer-Encoding, not both."
        )
    if int(text) > BODY_BYTES_MAX:
        raise too_large()


def too_large() -> Problem:
    """413."""
    return Problem("body-too-large", f"The body is over {BODY_BYTES_MAX} bytes; send less.")


def request_id_of(scope: Scope) -> str | None:
    """The client's X-TradeAgent-Request-ID where it is well formed and single, else None."""
    given: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"x-tradeagent-request-id":
            given = value if given is None else b""
    return given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else None


def check_request_id(headers: Headers) -> None:
    """Raise Problem for an id that cannot be echoed safely."""
    given = headers.found.get(b"x-tradeagent-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given) is None:
        raise Problem(
            "invalid-request-id",
            "X-TradeAgent-Request-ID takes 1 to 128 letters, digits and ._:+/=@-; mend it or leave it out.",
        )


def idempotency_key_of(headers: Headers) -> str:
    """The Idempotency-Key. Raises Problem."""
    key = headers.found.get(b"idempotency-key")
    if not key:
        raise Problem(
            "missing-idempotency-key",
            "Send an Idempotency-Key that is new for each act and the same for each retry of it.",
        )
    if _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise Problem(
            "invalid-idempotency-key", "An Idempotency-Key has 1 to 128 printable ASCII characters."
        )
    return key.decode()


def check_json(headers: Headers) -> None:
    """Raise Problem unless the body is plain JSON; a missing Content-Type counts as JSON."""
    kind = headers.found.get(b"content-type")
    plain = kind is None or kind == b"application/json" or _JSON_TYPE.fullmatch(kind) is not None
    if not plain or b"content-encoding" in headers.found:
        raise Problem(
            "unsupported-media-type",
            "Send Content-Type: application/json in UTF-8, unpacked.",
        )
