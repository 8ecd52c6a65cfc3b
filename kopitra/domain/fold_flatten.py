"""Folding a flatten: the mark of an account, from the request until its broker showed flat twice (R-094)."""

from kopitra.domain.book import Book
from kopitra.domain.flattening import Flattening
from kopitra.domain.journal import FlattenNoted


def flatten_noted(book: Book, entry: FlattenNoted) -> None:
    """The mark belongs to whoever asked first; a failed one stays until it is lifted, ended or tried again."""
    account_id, flattens = entry.account_id, book.flattens
    match entry.state:
        case "flat_confirmed":
            book.went_flat(account_id)
            flattens.pop(account_id, None)
        case "failed":
            flattens[account_id] = Flattening(entry.flatten_id, entry.who, True, entry.detail, entry.given_up)
        case "requested" | "pending":
            known = flattens.get(account_id)
            if known is None or known.failed:
                flattens[account_id] = Flattening(entry.flatten_id, entry.who)
