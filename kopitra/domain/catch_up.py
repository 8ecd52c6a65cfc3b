"""What a predecessor may have left undone, from the book alone: pure (R-018 to R-021).

A process can die between a report and what follows from it. What follows is worked out from the book, so asking again
for every place where something could be due finds what is missing, and nothing where nothing is: a second restart adds
no row.
"""

from collections.abc import Iterator

from kopitra.domain.book import Book, ChildOrder


def held_entries(book: Book) -> list[ChildOrder]:
    """Entries that were planned and never claimed: they wait for a close, and the leader acted some time ago."""
    return [
        child
        for children in book.open.values()
        for child in children.values()
        if child.state == "planned" and child.intent.role == "entry"
    ]


def unfollowed(book: Book) -> list[str]:
    """Orders to ask what follows from: what held orders wait for, and one order wherever something is held or open."""
    return list(dict.fromkeys([*_awaited(book), *_newest(book)]))


def _awaited(book: Book) -> Iterator[str]:
    for children in book.open.values():
        for child in children.values():
            if child.state == "planned":
                yield from (name for name in child.intent.after if name in book.orders)


def _newest(book: Book) -> Iterator[str]:
    """The newest order of each account, leader and contract that is not at rest."""
    busy = {
        (account_id, leader, contract)
        for (account_id, leader), held in book.holdings.items()
        for contract, position in held.items()
        if leader and position.qty
    }
    busy |= {
        (account_id, leader, child.intent.symbol)
        for (account_id, leader), children in book.open.items()
        for child in children.values()
        if leader
    }
    newest = {
        key: order.intent.cl_ord_id
        for order in book.orders.values()
        if (key := (order.intent.account_id, order.intent.leader, order.intent.symbol)) in busy
    }
    yield from newest.values()
