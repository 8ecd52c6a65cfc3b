"""R-014, R-015: what proves that an order was taken or refused is in a table; everything else is unknown."""

import msgspec
import pytest

from brokers.tradovate.answers import Accepted, Ambiguous, Penalty, Refused, classify
from brokers.tradovate.failures import AMBIGUOUS, DEFINITIVE, SUCCESS


def answer(**body: object) -> bytes:
    return msgspec.json.encode(body)


TAKEN = answer(orderId=7)


@pytest.mark.parametrize("word", sorted(DEFINITIVE))
def test_words_of_the_table_refuse_for_certain(word: str) -> None:
    verdict = classify(200, answer(failureReason=word, failureText="as told"))

    assert verdict == Refused(DEFINITIVE[word], f"{word}: as told")


@pytest.mark.parametrize("word", [*sorted(AMBIGUOUS), "SomethingNew", "DuplicateOrder", "toolate"])
def test_every_other_word_is_unknown(word: str) -> None:
    assert isinstance(classify(200, answer(failureReason=word)), Ambiguous)


@pytest.mark.parametrize("word", sorted(DEFINITIVE))
def test_a_refusal_beside_an_id_is_unknown(word: str) -> None:
    assert isinstance(classify(200, answer(failureReason=word, orderId=7)), Ambiguous)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 409, 423, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [TAKEN, b"", answer(failureReason="InvalidPrice")], ids=["taken", "empty", "refused"]
)
def test_no_status_but_success_decides_anything(status: int, body: bytes) -> None:
    assert isinstance(classify(status, body), Ambiguous)


def test_an_id_alone_is_taken() -> None:
    assert classify(200, TAKEN) == Accepted((7,), None)
    assert classify(200, answer(orderId=7, failureReason=SUCCESS)) == Accepted((7,), None)


def test_a_ticket_is_a_penalty_and_no_refusal() -> None:
    assert isinstance(classify(200, msgspec.json.encode({"p-ticket": "t", "p-time": 5})), Penalty)
