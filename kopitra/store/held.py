"""What would be left without its exits by a change of configuration: holdings and open orders, as the projections show.

The projections are written behind the journal, so whoever asks first waits until they show what was journalled when
he began (`caught_up`). What is accepted between that moment and the gateway's own look at the new configuration (a
poll of a quarter of a second) cannot be seen here: the gateway raises an alert for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from kopitra.domain.book import root_of
from kopitra.domain.errors import Conflict
from kopitra.store.pool import Database, Session

#: seconds that a change waits for the projections; the writer behind rests at most one second between batches
LAG_WAIT_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.1
#: holdings and orders that a refusal looks at
ROWS_MAX: Final = 500
#: of which it names these many
_NAMED_MAX: Final = 5


class StillHeld(Conflict):
    """The change would leave positions or orders that nobody manages; `held` says which."""

    code = "still-held"

    def __init__(self, message: str, held: "Sequence[Held]") -> None:
        super().__init__(message)
        self.held = held


@dataclass(frozen=True, slots=True)
class Held:
    """One holding (`open_orders` 0) or the open orders (`net_qty` 0) of an account in one contract, behind a leader."""

    account_id: str
    leader_id: str
    symbol: str
    net_qty: Decimal
    open_orders: int

    @property
    def root(self) -> str:
        """The product."""
        return root_of(self.symbol)

    @property
    def words(self) -> str:
        """For people."""
        what = f"holds {self.net_qty:f}" if self.net_qty else f"has {self.open_orders} open order(s) in"
        return f"{self.account_id} {what} {self.symbol} because of {self.leader_id}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose holdings are looked at; None: any account, any leader."""

    workspace: str
    account_id: str | None = None
    leader_id: str | None = None
    login_id: str | None = None


# An order of ours that is not over is as good as a holding: its cancel would not be followed either.
HELD_SQL: Final = """
    with own as (
        select account_id from accounts
        where workspace = %(workspace)s
          and (%(account)s::text is null or account_id = %(account)s)
          and (%(login)s::text is null or login_id = %(login)s))
    select account_id, leader_id, symbol, net_qty, 0 as open_orders from holdings
    where workspace = %(workspace)s and account_id in (select account_id from own)
      and (%(leader)s::text is null or leader_id = %(leader)s) and net_qty <> 0
    union all
    select account_id, leader_id, symbol, 0, count(*)::int from orders
    where workspace = %(workspace)s and account_id in (select account_id from own)
      and (%(leader)s::text is null or leader_id = %(leader)s)
      and ord_status not in ('filled', 'canceled', 'expired', 'rejected', 'not_placed', 'skipped')
    group by account_id, leader_id, symbol
    order by 1, 2, 3 limit %(limit)s"""


async def held_in(session: Session, scope: Scope) -> list[Held]:
    """Holdings and open orders in a scope, ROWS_MAX at most."""
    values = {
        "workspace": scope.workspace, "account": scope.account_id, "leader": scope.leader_id,
        "login": scope.login_id, "limit": ROWS_MAX,
    }  # fmt: skip
    return await session.rows(Held, HELD_SQL, values)


async def refuse_if_held(
    session: Session, scope: Scope, what: str, is_lost: Callable[[Held], bool] = lambda _held: True
) -> None:
    """Raise StillHeld when `what` (a change, in words) would leave something in the scope without its exits."""
    lost = [held for held in await held_in(session, scope) if is_lost(held)]
    if not lost:
        return
    named = "; ".join(held.words for held in lost[:_NAMED_MAX])
    more = f"; and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else ""
    raise StillHeld(
        f"{what} would leave this without its leader's exits: {named}{more}. Flatten it first (POST /ops/v1/flatten), "
        "or let it run out by `kopitra follower change ACCOUNT --leader LEADER --pace close_only`: "
        "exits go on, entries stop.",
        lost,
    )


@asynccontextmanager
async def changing(
    db: Database, scope: Scope | None, what: str, is_lost: Callable[[Held], bool] = lambda _held: True
) -> AsyncGenerator[Session]:
    """A transaction for `what` (a change, in words). With a scope the change ends somebody's exits there: then the
    block is reached only when it strands nothing. Raises StillHeld, or Conflict when that cannot be told.
    """
    if scope is not None:
        await caught_up(db)
    async with db.transaction() as session:
        if scope is not None:
            await refuse_if_held(session, scope, what, is_lost)
        yield session


def one(touched: int, what: str, name: str) -> None:
    """Raise Conflict unless the change met its row as it was read."""
    if touched != 1:
        raise changed_meanwhile(what, name)


def changed_meanwhile(what: str, name: str) -> Conflict:
    """The error of a change that was made to what is not there (any more)."""
    return Conflict(f"The {what} {name} was changed by somebody else, or is not there: read it again.")


@dataclass(frozen=True, slots=True)
class _Head:
    shard: str
    seq: int
    shown: int
    whole: bool


_HEADS_SQL: Final = """
    select lease.shard, coalesce(head.seq, 0)::bigint as seq, coalesce(shown.seq, 0) as shown,
           coalesce(shown.whole, true) as whole
    from lease left join projection_heads shown on shown.shard = lease.shard
    left join lateral (
        select seq from journal where journal.shard = lease.shard order by seq desc limit 1) head on true"""


async def caught_up(db: Database) -> None:
    """Wait until the projections show every row that is in the journal now. Raises Conflict after LAG_WAIT_S."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LAG_WAIT_S
    heads = {head.shard: head.seq for head in await db.rows(_Head, _HEADS_SQL)}
    while True:
        found = await db.rows(_Head, _HEADS_SQL)
        behind = [h for h in found if not h.whole or h.shown < heads.get(h.shard, 0)]
        if not behind:
            return
        if loop.time() >= end:
            first = behind[0]
            raise Conflict(
                f"What is held cannot be told now: the rows for queries of shard {first.shard} show journal row "
                f"{first.shown} of {heads.get(first.shard, 0)}{'' if first.whole else ', and are being made again'}. "
                "Start the gateway, or run `kopitra projections rebuild`, then try again.",
                code="projections-behind",
            )
        await asyncio.sleep(_LOOK_EVERY_S)
