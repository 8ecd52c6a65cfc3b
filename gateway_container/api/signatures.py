"""Optional request signatures: HMAC-SHA256 over timestamp, method, path and raw body (S-10).

    X-TradeAgent-Timestamp: 1795192200                   Unix seconds
    X-TradeAgent-Signature: v1=<hex>[,v1=<hex>]          one per secret while secrets rotate

The signed text is timestamp, method and path, each followed by a line feed, then the body as sent. A
signature is taken once: a client that tries again signs again, with the same Idempotency-Key.
"""

import hmac
from collections import deque
from collections.abc import Sequence
from typing import Final

from gateway_container.api.headers import Headers
from gateway_container.api.problems import Problem

#: seconds, both ways
TOLERANCE_S: Final = 300
#: signatures remembered for twice the tolerance
SEEN_MAX: Final = 200_000
#: signatures in one header
SIGNATURES_MAX: Final = 4


def sign(secret: bytes, timestamp: str, method: str, path: str, body: bytes) -> str:
    """The header value for a request."""
    text = f"{timestamp}\n{method}\n{path}\n".encode() + body
    return "v1=" + hmac.digest(secret, text, "sha256").hex()


class Signatures:
    """Checks signatures and remembers them; one per process."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._order: deque[tuple[int, bytes]] = deque()  # bounded: _remember refuses past SEEN_MAX

    def check(
        self, secrets: Sequence[bytes], headers: Headers, method: str, path: str, body: bytes, now_s: int
    ) -> None:
        """Raise Problem unless the request carries a fresh, new signature by one of the secrets."""
        stamp, given = headers.get(b"x-tradeagent-timestamp"), headers.get(b"x-tradeagent-signature")
        if stamp is None or given is None:
            raise Problem(
                "missing-signature",
                "This credential needs X-TradeAgent-Timestamp and X-TradeAgent-Signature.",
            )
        if not (stamp.isdigit() and len(stamp) == 10):
            raise Problem(
                "invalid-signature", "X-TradeAgent-Timestamp takes Unix seconds, such as 1795192200."
            )
        if abs(now_s - int(stamp)) > TOLERANCE_S:
            raise Problem(
                "stale-signature",
                f"The signature is over {TOLERANCE_S} s away; set your clock and sign again.",
            )
        signatures = _digests(given)
        text = stamp + f"\n{method}\n{path}\n".encode() + body
        for secret in secrets:
            right = hmac.digest(secret, text, "sha256")
            if any(hmac.compare_digest(right, one) for one in signatures):
                self._remember(right, now_s)
                return
        raise Problem(
            "invalid-signature", "The signature does not match; sign the raw body with your secret."
        )

    def _remember(self, digest: bytes, now_s: int) -> None:
        while self._order and self._order[0][0] < now_s:
            self._seen.discard(self._order.popleft()[1])
        if digest in self._seen:
            raise Problem(
                "replayed-signature", "This signature was used before; sign again with a new timestamp."
            )
        if len(self._order) >= SEEN_MAX:
            raise Problem(
                "replay-memory-full", "Too many signed requests are remembered; try again.", retry_after_s=5
            )
        self._seen.add(digest)
        self._order.append((now_s + 2 * TOLERANCE_S, digest))


def _digests(header: bytes) -> list[bytes]:
    found: list[bytes] = []
    for part in header.split(b",")[:SIGNATURES_MAX]:
        version, _, value = part.strip().partition(b"=")
        try:
            found.append(bytes.fromhex(value.decode("ascii")) if version == b"v1" else b"")
        except (ValueError, UnicodeDecodeError):
            found.append(b"")
    return found
