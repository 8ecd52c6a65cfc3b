"""What accounts hold and have working by the rows for queries: a first look for a person, not for the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from kopitra.store.pool import Database

#: rows of one look
ROWS_MAX: Final = 2_000

_SQL: Final = """
    select account_id, symbol, sum(net_qty) as net_qty, sum(open_orders)::int as open_orders from (
        select account_id, symbol, net_qty, 0 as open_orders from positions
        where account_id = any(%(accounts)s) and net_qty <> 0
        union all
        select account_id, symbol, 0, 1 from orders
        where account_id = any(%(accounts)s)
          and ord_status not in ('filled', 'canceled', 'expired', 'rejected', 'not_placed', 'skipped')) shown
    group by account_id, symbol order by 1, 2 limit %(limit)s"""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One account in one contract: signed contracts, and orders that are not over."""

    account_id: str
    symbol: str
    net_qty: Decimal
    open_orders: int


async def exposure_of(db: Database, account_ids: Sequence[str]) -> list[Exposure]:
    """As far as the projector has come, about a second behind the journal. Raises Unavailable."""
    return await db.rows(Exposure, _SQL, {"accounts": list(account_ids), "limit": ROWS_MAX})
