"""Is a held entry too old by now? One test for when what it waits for is over, and for a start (R-019, R-068).

A held entry was judged when its signal came; the close before it may have taken any time since.
"""

from collections.abc import Sequence
from datetime import datetime

from kopitra.domain.case import max_age_ms
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.orders import ChildOrder


def is_stale(entry: ChildOrder, rules: Sequence[CopyRule], now: datetime, ahead_ms: int = 0) -> bool:
    """Its leader acted too long ago for its follower's rule among `rules`; without a rule it always did.

    `ahead_ms`: how far ahead the sender's clock is known to be. Prices that a collar gave it are as old as the signal,
    so that a collared entry is no older than one at the market. No entry is younger than its acceptance by our own
    clock, which is all that is known after a start of a sender whose clock is ahead.
    """
    rule = next((r for r in rules if r.account_id == entry.intent.account_id), None)
    if rule is None or entry.acted_at is None:
        return True
    age_ms = (now - entry.acted_at).total_seconds() * 1000 + ahead_ms
    if entry.accepted_at is not None:
        age_ms = max(age_ms, (now - entry.accepted_at).total_seconds() * 1000)
    oldest_ms = max_age_ms(rule, entry.intent) if rule.collar_ticks is None else rule.max_age_ms
    return age_ms > oldest_ms
