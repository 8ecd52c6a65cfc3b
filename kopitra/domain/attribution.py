"""Whose is what an account holds: fills of orders that are not ours close what we attributed to leaders.

A person who closes a copied position at the broker has ended it: nothing may close it a second time, and its stops
must go. What is attributed never exceeds what is there.
"""

from collections.abc import Mapping
from decimal import Decimal

from kopitra.domain.book import Book, ChildOrder, root_of
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import opposite, sign


def attributed(book: Book, account_id: str, contract: str) -> dict[str, Decimal]:
    """leader -> signed contracts that are held because of it; a flatten's own closes count under ""."""
    found: dict[str, Decimal] = {}
    for (account, leader), held in book.holdings.items():
        if account == account_id and contract in held and held[contract].qty:
            found[leader] = held[contract].qty
    return found


def within(ours: Decimal, there: Decimal) -> Decimal:
    """The part of `ours` that `there` can hold: same side, no more."""
    if ours * there <= 0:
        return ZERO
    return ours if abs(ours) <= abs(there) else there


def lost_of(held: Mapping[str, Decimal], there: Decimal, wanted: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """leader -> signed contracts that are attributed to it and not there. What exceeds a target goes first."""
    ours = sum(held.values(), ZERO)
    gone = ours - within(ours, there)
    left = abs(gone)
    lost: dict[str, Decimal] = {}
    names = sorted(name for name, qty in held.items() if qty * gone > 0)
    for spare_only in (True, False):
        for name in names:
            mine = abs(held[name]) - lost.get(name, ZERO)
            if spare_only:
                target = wanted.get(name, ZERO)
                mine -= abs(within(held[name], target)) if target else ZERO
            taken = min(left, max(ZERO, mine))
            left -= taken
            lost[name] = lost.get(name, ZERO) + taken
    return {name: qty if gone > 0 else -qty for name, qty in lost.items() if qty}


def there(book: Book, account_id: str, contract: str) -> Decimal:
    """Signed contracts at the broker: what executions say, and what reads showed beside them."""
    position = book.positions.get((account_id, contract))
    counted = position.qty if position is not None else ZERO
    beside = book.sync.unexplained.get((account_id, contract))
    return counted if beside is None else counted + beside.qty


def _least_and_most(book: Book, account_id: str, contract: str, ours: Decimal) -> tuple[Decimal, Decimal]:
    """`there`, at its least and at its most for who holds `ours`: executions that were told since the newest read may
    be among those which it had shown."""
    here = there(book, account_id, contract)
    beside = book.sync.unexplained.get((account_id, contract))
    if beside is None:
        return here, here
    short, long = here - beside.told_bought, here + beside.told_sold
    return (short, long) if ours >= 0 else (long, short)


def closable(book: Book, account_id: str, contract: str, leader: str) -> Decimal:
    """Signed contracts of a leader's holding that are there, as far as anybody has read: a close of more than that
    would open a position (R-012)."""
    position = book.held(account_id, leader).get(contract)
    if position is None:
        return ZERO
    return position.qty - missing(book, account_id, contract).get(leader, ZERO)


def still_too_much(book: Book, close: ChildOrder, here: Decimal) -> Decimal:
    """Contracts that a close may still take of the `here` that it can shrink, where other orders of ours may fill too:
    without what closes before it and stops that have begun to fill will take (I-09), and without what is to stay."""
    intent = close.intent
    before = True
    for order in book.open_children(intent.account_id, intent.leader):
        other = order.intent
        if order is close:
            before = False
        elif (other.symbol, other.side) == (intent.symbol, intent.side) and _takes(order, before):
            here -= order.leaves_qty
    return max(ZERO, here - to_stay(book, close))


def _takes(order: ChildOrder, before: bool) -> bool:
    """It may close a part first. One that is held is sized when it is let go."""
    if order.intent.role == "exit":
        return not order.unsent or (before and order.state != "planned")
    return order.is_triggered


def to_stay(book: Book, close: ChildOrder) -> Decimal:
    """Contracts on the side that a close shrinks which its leader wants by now: of the target, what neither other
    contracts of the product nor open entries bring. Only what followed from an act of the leader is held to that: a
    repair knows better than the target."""
    if close.acted_at is None:
        return ZERO
    intent = close.intent
    account_id, leader, root = intent.account_id, intent.leader, root_of(intent.symbol)
    side = opposite(intent.side)
    episode = book.episodes.get((leader, account_id, root))
    stays = ZERO if episode is None else episode.target * sign(side)
    if stays <= 0:
        return ZERO
    for contract, position in book.held(account_id, leader).items():
        if contract != intent.symbol and root_of(contract) == root:
            stays -= max(ZERO, position.qty * sign(side))
    for order in book.open_children(account_id, leader):
        other = order.intent
        if (
            other.role == "entry"
            and order.cancel is None
            and (root_of(other.symbol), other.side) == (root, side)
        ):
            stays -= order.coming()
    return max(ZERO, stays)


def missing(book: Book, account_id: str, contract: str) -> dict[str, Decimal]:
    """leader -> signed contracts that are attributed to it and may not be there; nearly always nothing."""
    if (account_id, contract) not in book.sync.unexplained:
        return {}
    held = attributed(book, account_id, contract)
    least, _ = _least_and_most(book, account_id, contract, sum(held.values(), ZERO))
    return lost_of(held, least, _wanted(book, account_id, contract, held))


def close_by_hand(book: Book, account_id: str, contract: str, leader: str, lost: Decimal) -> None:
    """`lost` signed contracts of a leader's holding are gone: neither held nor wanted any more in this stretch."""
    position = book.held(account_id, leader).get(contract)
    if position is None or not within(position.qty, lost):
        return
    gone = within(lost, position.qty)
    position.cost -= position.cost * gone / position.qty
    book.way_out.held(account_id, leader, position.qty, position.qty - gone)
    position.qty -= gone
    key = (leader, account_id, root_of(contract))
    episode = book.episodes.get(key)
    if episode is None:
        return
    # What was too much anyway is not missed.
    short = min(abs(gone), max(ZERO, abs(episode.target) - abs(position.qty)))
    if short and gone * episode.target > 0:
        wanted = short if gone > 0 else -short
        episode.target -= wanted
        book.sync.closed_by_hand(key, wanted)


def foreign_fill(book: Book, account_id: str, contract: str) -> None:
    """Somebody else traded in the account; the position is counted already. What it closed of ours is gone.

    Nobody gives a leader back what was taken from it: until a read tells whether this execution was another one than
    those which reads have shown, it loses only what is gone in any case. Its exits close what is there in any case.
    """
    held = attributed(book, account_id, contract)
    wanted = _wanted(book, account_id, contract, held)
    _, most = _least_and_most(book, account_id, contract, sum(held.values(), ZERO))
    for leader, lost in lost_of(held, most, wanted).items():
        close_by_hand(book, account_id, contract, leader, lost)


def _wanted(book: Book, account_id: str, contract: str, held: Mapping[str, Decimal]) -> dict[str, Decimal]:
    episodes = {name: book.episodes.get((name, account_id, root_of(contract))) for name in held}
    return {name: episode.target for name, episode in episodes.items() if episode is not None}
