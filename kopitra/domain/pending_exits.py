"""Exits that the market did not take: closed, halted, reserved (R-064, R-065).

An exit that is refused because nobody trades is not over. It is a pending exit: one per account, leader and contract,
journalled, and tried again (`exit_ladder.py`) until the holding is where it should be.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

#: our words for a refusal that time heals: the order itself is fine
MARKET_CLOSED: Final = "market-closed"
PASSING: Final = frozenset({MARKET_CLOSED, "broker-unavailable", "no-quote"})


class ExitKey(NamedTuple):
    """What one pending exit closes."""

    account_id: str
    leader: str
    symbol: str


@dataclass(slots=True)
class PendingExit:
    """As folded from the journal: the newest refused close, the broker's words, tries so far."""

    cause: str
    reason: str
    tries: int
    since: datetime
