"""What an answer to a command means: accepted, refused, a penalty, or nobody knows.

Sources: vendor docs "Error Handling", "Penalty Tickets" (2026-08).
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from brokers.tradovate.failures import AMBIGUOUS, DEFINITIVE, SUCCESS


class _Answer(msgspec.Struct, rename="camel", frozen=True, gc=False):
    order_id: int | None = None
    oso1_id: int | None = None
    oso2_id: int | None = None
    command_id: int | None = None
    failure_reason: str | None = None
    failure_text: str | None = None
    error_text: str | None = None
    violations: list[dict[str, object]] | None = None
    p_ticket: str | None = msgspec.field(name="p-ticket", default=None)
    p_time: float | None = msgspec.field(name="p-time", default=None)
    p_captcha: bool = msgspec.field(name="p-captcha", default=False)
    p_message: str | None = msgspec.field(name="p-message", default=None)


class Accepted(NamedTuple):
    """`ids`: the order and its bracket children; empty for a cancel or modify (`command_id` is set)."""

    ids: tuple[int, ...]
    command_id: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Definitive: nothing was placed or changed. `code` is our word, `text` the broker's, verbatim."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Nobody knows. `parsed` is False when the answer is not what the protocol contains."""

    text: str
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class Penalty:
    """A time penalty. Asked to repeat with the ticket, so presumably not executed; orders stay in doubt."""

    ticket: str
    wait_s: float
    captcha: bool
    text: str


Verdict = Accepted | Refused | Ambiguous | Penalty
_answer = msgspec.json.Decoder(_Answer)


def classify(status: int, payload: bytes | msgspec.Raw) -> Verdict:
    """What an answer to a command means. HTTP status alone never decides for success or refusal."""
    if not 200 <= status < 300:
        return Ambiguous(f"status {status}: {bytes(payload)[:200].decode(errors='replace')}".rstrip(": "))
    try:
        answer = _answer.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Ambiguous("the answer does not parse", parsed=False)
    if answer.p_ticket is not None or answer.p_captcha:
        text = answer.p_message or "penalty ticket"
        return Penalty(answer.p_ticket or "", max(answer.p_time or 0.0, 0.0), answer.p_captcha, text)
    ids = tuple([i for i in (answer.order_id, answer.oso1_id, answer.oso2_id) if i])
    reason = answer.failure_reason
    if (reason and reason != SUCCESS) or answer.error_text or answer.violations:
        return _refusal(answer, bool(ids or answer.command_id))
    if not ids and not answer.command_id:
        return Ambiguous("neither an id nor a reason in the answer")
    return Accepted(ids, answer.command_id)


def _refusal(answer: _Answer, has_id: bool) -> Verdict:
    word = answer.failure_reason or ""
    detail = answer.failure_text or answer.error_text or ""
    if answer.violations:
        detail = detail or msgspec.json.encode(answer.violations).decode()[:500]
    text = f"{word}: {detail}" if word and detail else word or detail
    if has_id:
        # An id beside a failure is a contradiction that only the stream can settle.
        return Ambiguous(text)
    if word in AMBIGUOUS or (word and word != SUCCESS and word not in DEFINITIVE):
        return Ambiguous(text)
    return Refused(DEFINITIVE.get(word, "invalid-request"), text)
