"""What the risk check of one entry looks at in an account with prop limits, besides the usual inputs.

Orders that were sent and are not filled count at once, as if they were (R-102); micros count as parts of the full-size
contract (ten MES are one ES).
"""

from decimal import Decimal

from kopitra.domain.book import Book, root_of
from kopitra.domain.fanout import AccountInputs
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.prop_limits import ALL_FAMILIES, PropStanding
from kopitra.domain.risk import RiskInputs


def with_prop(
    inputs: RiskInputs,
    standing: PropStanding,
    book: Book,
    account: AccountInputs,
    entry: OrderIntent,
    has_stop: bool,
) -> RiskInputs:
    """The inputs with the account's standing. Contracts are counted only where a cap asks for them."""
    limits = standing.limits
    family = everything = None
    if limits.caps:
        own = INSTRUMENTS[root_of(entry.symbol)].family
        held = _held_elsewhere(book, account, entry)
        mine = full_size(entry.symbol, inputs.position_after)
        if any(cap.family == own for cap in limits.caps):
            family = mine + sum((qty for name, qty in held if name == own), ZERO)
        if any(cap.family == ALL_FAMILIES for cap in limits.caps):
            everything = mine + sum((qty for _, qty in held), ZERO)
    return inputs._replace(
        limit_stop=standing.stop,
        limit_text=standing.text,
        prop_version=limits.version,
        has_stop=has_stop,
        trades_today=book.trades_today.get(entry.account_id, 0),
        family_contracts=family,
        account_contracts=everything,
    )


def full_size(contract: str, qty: Decimal) -> Decimal:
    """Contracts of full size: 10 MESZ6 -> 1."""
    return abs(qty) * INSTRUMENTS[root_of(contract)].units_per_family


def _held_elsewhere(book: Book, account: AccountInputs, entry: OrderIntent) -> list[tuple[str, Decimal]]:
    """(family, contracts of full size) of the account's other contracts, the larger of book and broker, each with what
    its open entries would add. Long and short months do not cancel each other out: firms count contracts."""
    account_id = entry.account_id
    held = {contract: abs(qty) for contract, qty in account.reported.items()}
    for (owner, contract), position in book.positions.items():
        if owner == account_id:
            held[contract] = max(abs(position.qty), held.get(contract, ZERO))
    for (owner, contract), orders in book.entries.items():
        if owner == account_id:
            waiting = sum((order.leaves_qty for order in orders.values()), ZERO)
            held[contract] = held.get(contract, ZERO) + waiting
    held.pop(entry.symbol, None)
    return [
        (INSTRUMENTS[root_of(contract)].family, full_size(contract, qty))
        for contract, qty in held.items()
        if qty and root_of(contract) in INSTRUMENTS
    ]
