"""What is foreign at a follower's account, and the contracts whose entries stop for it (R-043, R-047).

Pure. Foreign contracts are drift (`drift.py`); foreign orders are working orders that no order of ours explains. An
order that may be one of ours, because nobody knows yet what the broker calls ours, is neither foreign nor gone.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from kopitra.domain.book import Book
from kopitra.domain.executions import TERMINAL_STATUS, ExecutionReport
from kopitra.domain.ids import is_own
from kopitra.domain.journal import EntriesBlocked
from kopitra.domain.news import listed_child
from kopitra.domain.orders import LIVE, ChildOrder

#: contracts whose entries stop because of what is foreign there, in words; a clean comparison lifts both
EXTERNAL: Final = "contracts that are not ours are held there"
FOREIGN_ORDERS: Final = "orders that are not ours work there"
_OURS: Final = frozenset({EXTERNAL, FOREIGN_ORDERS})


class Foreign(NamedTuple):
    """What one whole list of an account's orders shows."""

    #: contract -> the broker's ids of working orders that nobody here sent or accepted, in order
    orders: Mapping[str, tuple[str, ...]]
    #: contracts with working orders that may be ours
    unsure: AbstractSet[str]


class Shown(NamedTuple):
    """What reads have shown so far."""

    #: contract -> when the first of the reads began that have shown foreign orders there ever since (monotonic)
    since_ns: Mapping[str, int]
    #: the orders of the contracts where two reads, far enough apart, have shown some
    confirmed: Mapping[str, tuple[str, ...]]


def foreign_orders(book: Book, account_id: str, listed: Sequence[ExecutionReport]) -> Foreign:
    """Tell the working orders of one account apart. `listed`: all that its broker lists."""
    orders: dict[str, tuple[str, ...]] = {}
    unsure: set[str] = set()
    nameless = _nameless(book, account_id)
    for report in sorted(listed, key=lambda r: r.order_id):
        if report.ord_status in TERMINAL_STATUS or _is_known(book, report):
            continue
        if not report.cl_ord_id and any(_may_be(order, report) for order in nameless):
            unsure.add(report.symbol)
        elif report.order_id not in book.sync.accepted_orders.get((account_id, report.symbol), ()):
            orders[report.symbol] = (*orders.get(report.symbol, ()), report.order_id)
    return Foreign(orders, unsure)


def _is_known(book: Book, report: ExecutionReport) -> bool:
    """By our id, the broker's, or its entry's; an id of our making that the journal lost is told elsewhere (R-077)."""
    of_entry = (report.account_id, report.parent_order_id or "") in book.by_order_id
    return of_entry or is_own(report.cl_ord_id) or listed_child(book, report) is not None


def _nameless(book: Book, account_id: str) -> list[ChildOrder]:
    """Orders of ours that the broker may list under an id that we have not heard: not answered yet, in doubt, or being
    moved at a broker that makes a new order of it."""
    children = (o for (owner, _), found in book.open.items() if owner == account_id for o in found.values())
    return [o for o in children if o.state in LIVE and (o.order_id is None or o.replace_sent)]


def _may_be(order: ChildOrder, report: ExecutionReport) -> bool:
    """Size or price fits: more than that a list without our ids cannot tell (R-009 never takes it for proof)."""
    intent, move = order.intent, order.replace
    if intent.symbol != report.symbol or intent.side != report.side:
        return False
    sizes = {intent.qty, order.qty, order.planned_qty, move.qty if move is not None else None}
    prices = {order.price, order.stop_price, intent.price, intent.stop_price}
    if move is not None:
        prices |= {move.price, move.stop_price}
    told = {report.price, report.stop_price} - {None}
    return report.order_qty is None or report.order_qty in sizes or not told.isdisjoint(prices)


def shown_twice(
    book: Book, account_id: str, foreign: Foreign, before: Mapping[str, int], began_ns: int, apart_ns: int
) -> Shown:
    """What to believe of a read that began at `began_ns`; two reads must lie `apart_ns` apart, so that the lists have
    come up to date between them. They need not show the same orders: another copier replaces its own."""
    told, stands = foreign.orders, book.sync.foreign_orders
    since_ns = {c: at for c, at in before.items() if c in told or c in foreign.unsure}
    since_ns |= {c: began_ns for c in told if c not in since_ns}
    confirmed = {
        c: ids for c, ids in told.items() if (account_id, c) in stands or began_ns - since_ns[c] >= apart_ns
    }
    return Shown(since_ns, confirmed)


def blocks(
    book: Book, account_id: str, confirmed: Mapping[str, tuple[str, ...]], unsure: AbstractSet[str]
) -> list[EntriesBlocked]:
    """What stops, or goes on, by a comparison whose drift is in the book. `confirmed`: foreign orders that two reads
    have shown; in `unsure` contracts a block for orders stays. Blocks with other reasons are not ours to change."""
    sync = book.sync
    external = {d.symbol for d in sync.of_account(account_id) if d.kind == "external"}
    standing = {c: why for (a, c), why in sync.blocked.items() if a == account_id}
    found: list[EntriesBlocked] = []
    for contract in sorted({*standing, *external, *confirmed}):
        why, orders = standing.get(contract, ""), confirmed.get(contract, ())
        if why and why not in _OURS:
            continue
        known = sync.foreign_orders.get((account_id, contract), ())
        kept = known if not orders and contract in unsure else orders
        wanted = EXTERNAL if contract in external else FOREIGN_ORDERS if kept else ""
        if (wanted, kept) != (why, known):
            found.append(EntriesBlocked(account_id, wanted, contract, orders=kept))
    return found
