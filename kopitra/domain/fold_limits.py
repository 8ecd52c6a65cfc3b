"""What marks and rungs do to the book: highest values, days and locks only ever go one way."""

from kopitra.domain.book import Book
from kopitra.domain.journal import EquityMarked, LimitRung
from kopitra.domain.loss_ladder import merged_standing
from kopitra.domain.measuring import merged


def marked(book: Book, entry: EquityMarked) -> None:
    """A mark; a new day or a new start counts its entries from zero."""
    known = book.measures.get(entry.account_id)
    measure = book.measures[entry.account_id] = merged(known, entry.measure)
    if known is None or (measure.number, measure.day) != (known.number, known.day):
        book.trades_today[entry.account_id] = 0


def stepped(book: Book, entry: LimitRung) -> None:
    """A step on the ladder."""
    known = book.standings.get(entry.account_id)
    book.standings[entry.account_id] = merged_standing(known, entry.standing)
