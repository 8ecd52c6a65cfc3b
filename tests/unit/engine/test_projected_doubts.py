"""What the table of orders follows when a doubt ends (R-010, R-020)."""

from datetime import UTC, datetime

import pytest

from gateway_container.engine.projected import Changes
from kopitra.domain.book import Book
from kopitra.domain.journal import AbsenceProved, Doubted, Entry, OrderParked
from kopitra.store.drafts import JournalRow

ROW = JournalRow("main", 7, 1, datetime(2026, 11, 20, tzinfo=UTC), "order.errors", "any", "w", b"", b"")


@pytest.mark.parametrize(
    "entry",
    [
        Doubted("c1", "a1", "no answer"),
        AbsenceProved("c1", "a1", (), 5000),
        OrderParked("c1", "a1", "ops", ""),
    ],
)
def test_every_turn_of_a_doubt_touches_its_order(entry: Entry) -> None:
    changes = Changes(Book, "main")
    changes.note(ROW, entry)
    assert changes._orders.keys() == {"c1"}
