"""Idempotent requests: one effect, one answer, byte for byte (R-023 to R-028)."""

from typing import Final, NamedTuple

from gateway_container.api.doors import Answers, Pending
from gateway_container.api.problems import Answer, Header, Problem
from kopitra.store.drafts import Duplicate, IdempotencyRecord

JSON: Final[Header] = (b"content-type", b"application/json")
REPLAYED: Final[Header] = (b"idempotent-replayed", b"true")
_FRESH: Final[tuple[Header, ...]] = (JSON,)
_AGAIN: Final[tuple[Header, ...]] = (JSON, REPLAYED)
#: seconds; a commit takes milliseconds
RUNNING_RETRY_S: Final = 1


class Once(NamedTuple):
    """The scope of one request's key, and what the request means."""

    workspace: str
    principal: str
    endpoint: str
    key: str
    fingerprint: bytes


def known(answers: Answers, once: Once) -> Answer | None:
    """The first answer, from memory. Raises Problem for a running call or a key used otherwise."""
    record = answers.first_answer(*once[:4])
    if record is not None:
        return replay(record, once)
    if answers.running(*once[:4]):
        raise Problem(
            "idempotency-in-progress",
            "The first call with this Idempotency-Key has not been answered yet; ask again.",
            retry_after_s=RUNNING_RETRY_S,
        )
    return None


async def stored(answers: Answers, once: Once, refused: Exception) -> Answer:
    """The first answer, from the database, before a call is refused: memory keeps the newest answers only, and what
    is stale or known by now may have been taken then. Raises `refused` where there was no first call.
    """
    record = await answers.stored_answer(*once[:4])
    if record is None:
        raise refused
    return replay(record, once)


async def first(answers: Answers, once: Once) -> Answer | None:
    """The first answer, wherever it is. Raises Problem like `known`, and Unavailable."""
    answer = known(answers, once)
    if answer is not None:
        return answer
    record = await answers.stored_answer(*once[:4])
    return None if record is None else replay(record, once)


def replay(record: IdempotencyRecord, once: Once) -> Answer:
    """The first answer again. Raises Problem when the key was used for another body."""
    if record.fingerprint != once.fingerprint:
        raise Problem(
            "idempotency-key-reused",
            "This Idempotency-Key was used for another body; make a new key for a new act.",
        )
    return Answer(record.status, _AGAIN, record.body)


async def settled(pending: Pending, once: Once, status: int) -> Answer:
    """The answer when the commit is known. Raises Problem, Unavailable, LeaseLost, or Duplicate of the fact.

    The future belongs to the journal, which does not let a client that goes away cancel it.
    """
    try:
        committed = await pending.committed
    except Duplicate as duplicate:
        if isinstance(duplicate.existing, IdempotencyRecord):
            return replay(duplicate.existing, once)
        raise
    body = committed.answers[0]
    if body is None:
        raise RuntimeError("The commit carries no answer although a record was given with it.")
    return Answer(status, _FRESH, body)
