"""The entry guard: what a market entry may cost more than the leader paid (R-069). Pure.

`guard_ticks` of a rule: no entry when the best price is further than that beyond the leader's, or when no price of the
last two seconds is known to tell. `collar_ticks`: a market entry becomes a limit order that many ticks through the best
price, so that a jump between the look and the fill costs no more than the collar.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.allocation import Skipped
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.instruments import Instrument
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import Side, sign

#: milliseconds that a price is fresh
FRESH_MS: Final = 2_000


class BestPrice(NamedTuple):
    """Best bid and offer of a contract (the last trade where a side is missing), and when we heard it."""

    bid: Decimal
    ask: Decimal
    at: datetime

    def for_side(self, side: Side) -> Decimal:
        """What this side would pay or get now."""
        return self.ask if side == "buy" else self.bid


NO_PRICES: Final[Mapping[str, BestPrice]] = {}


def guarded(
    rule: CopyRule,
    entry: OrderIntent,
    leader_price: Decimal | None,
    best: BestPrice | None,
    instrument: Instrument,
    now: datetime,
) -> OrderIntent | Skipped:
    """The market entry as it may leave, or why it does not. Priced entries pass: they cost no more than they say."""
    if entry.ord_type != "market":
        return entry
    fresh = best is not None and (now - best.at).total_seconds() * 1000 <= FRESH_MS
    if rule.guard_ticks is not None:
        if best is None or not fresh:
            return Skipped(
                "no_fresh_price", f"the rule guards entries and no price of the last {FRESH_MS} ms is known"
            )
        if leader_price is None:
            return Skipped(
                "no_leader_price", "the rule guards entries and the signal says no price of the leader's"
            )
        beyond = (best.for_side(entry.side) - leader_price) * sign(entry.side)
        if beyond > rule.guard_ticks * instrument.tick_size:
            ticks = int(beyond / instrument.tick_size)
            return Skipped(
                "price_moved", f"the price is {ticks} ticks worse than the leader's {leader_price}"
            )
    if rule.collar_ticks is None:
        return entry
    anchor = best.for_side(entry.side) if best is not None and fresh else leader_price
    if anchor is None:
        why = "the rule collars entries and neither the market's nor the leader's price is known"
        return Skipped("no_fresh_price", why)
    level = anchor + sign(entry.side) * rule.collar_ticks * instrument.tick_size
    return entry._replace(ord_type="limit", price=instrument.snap(level, "nearest"), time_in_force="day")
