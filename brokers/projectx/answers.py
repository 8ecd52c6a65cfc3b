"""What an answer to an order request proves: the error tables of the docs as data, and one function each.

The same number means different things per endpoint. Anything that is not listed as definitive is ambiguous:
the action may have happened (R-014). Source: ProjectX Gateway API error codes per endpoint; live
`errorMessage` texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from brokers.projectx.wire import Envelope, PlaceReply, number, read_place_reply, read_reply
from kopitra.domain.errors import ProtocolViolation

HTTP_OK: Final = 200
HTTP_UNAUTHORIZED: Final = 401
HTTP_NOT_FOUND: Final = 404
HTTP_TOO_MANY: Final = 429

#: code -> our reason, definitive refusals only. Ambiguous by the docs: 6 OrderPending, 7 UnknownError
PLACE_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "account-not-found",
        2: "order-rejected",
        3: "insufficient-funds",
        4: "account-violation",
        5: "market-closed",
        8: "contract-not-found",
        9: "contract-not-active",
        10: "account-rejected",
    }
)
#: ambiguous: 4 Pending, 5 UnknownError
CANCEL_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {1: "account-not-found", 2: "order-not-found", 3: "request-rejected", 6: "account-rejected"}
)
#: ambiguous: 4 Pending, 5 UnknownError
MODIFY_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "account-not-found",
        2: "order-not-found",
        3: "request-rejected",
        6: "account-rejected",
        7: "contract-not-found",
    }
)
#: Auth/loginKey: everything but 8 UnknownError stays wrong however often it is tried
LOGIN_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "user not found",
        2: "wrong password",
        3: "invalid credentials",
        4: "application not found",
        5: "application not verified",
        6: "invalid device",
        7: "agreements not signed: sign them in the firm's platform",
        9: "no API subscription: subscribe at the firm",
        10: "API keys are disabled for this user",
    }
)

_TAG_IN_USE: Final = "custom tag already in use"

#: text of a code 2 refusal (by substring) -> finer reason
_TEXTS: Final[tuple[tuple[str, str], ...]] = (
    ("not in an active trading status", "market-closed"),
    ("outside allowed range", "price-out-of-range"),
    ("not aligned to tick size", "off-tick"),
    ("Not enough margin", "insufficient-funds"),
    ("Invalid stop loss", "invalid-bracket"),
    ("Invalid take profit", "invalid-bracket"),
    ("Position Brackets", "invalid-bracket"),
)


class Accepted(NamedTuple):
    """The broker took it. `order_id` of a placement, else 0."""

    order_id: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker said no, for certain; `text` verbatim."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """No authoritative answer. `alert`: it did not parse. `tag_in_use`: an earlier order exists."""

    reason: str
    alert: str = ""
    payload: str = ""
    tag_in_use: bool = False


Verdict = Accepted | Refused | Unsure


def judge_place(status: int, body: bytes) -> Verdict:
    """The verdict on `Order/place`. A tag in use proves that an earlier order exists: look it up."""
    verdict = _judge(status, body, PLACE_REFUSED, placing=True)
    if isinstance(verdict, Refused) and _TAG_IN_USE in verdict.text:
        return Unsure(
            "custom tag already in use: an earlier order with this id exists, look it up", tag_in_use=True
        )
    return verdict


def judge_request(kind: Literal["cancel", "modify"], status: int, body: bytes) -> Verdict:
    """The verdict on `Order/cancel` or `Order/modify`."""
    return _judge(status, body, CANCEL_REFUSED if kind == "cancel" else MODIFY_REFUSED, placing=False)


def _judge(status: int, body: bytes, refusals: Mapping[int, str], *, placing: bool) -> Verdict:
    if status != HTTP_OK:
        return Unsure(f"http {status}")
    try:
        reply = read_place_reply(body) if placing else read_reply(Envelope, body)
        if reply.success is not True:
            return _refused(reply, refusals)
        if reply.error_code == 0:
            return Accepted(number(reply.order_id)) if isinstance(reply, PlaceReply) else Accepted()
    except ProtocolViolation as error:
        return Unsure("the answer does not parse", error.message, error.payload)
    return Unsure(f"success with errorCode {reply.error_code}", "success and errorCode contradict")


def _refused(reply: Envelope, refusals: Mapping[int, str]) -> Verdict:
    if reply.success is None or reply.error_code is None:
        return Unsure("the answer has no outcome", "success or errorCode is missing from an answer")
    reason = refusals.get(reply.error_code)
    text = reply.error_message or ""
    if reason is None:
        return Unsure(f"errorCode {reply.error_code} {text}".rstrip())
    if reason == "order-rejected":
        reason = next((finer for part, finer in _TEXTS if part in text), reason)
    return Refused(reason, text or f"errorCode {reply.error_code}")
