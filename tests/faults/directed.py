"""Small worlds that are made by hand: three followers of one leader, polite brokers, and what is said here.

Those of `WORLDS` hold only because of one safeguard, which swarms miss too seldom, because other layers hide it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tests.faults.house import BOSS_LEADER, EA_LEADER
from tests.faults.swarm import Act, Plan, Trouble, make_plan


def small(
    leader: str, acts: tuple[Act, ...], troubles: tuple[Trouble, ...] = (), chaos_s: float = 4.0
) -> Plan:
    """Three followers of one leader, polite brokers."""
    base = make_plan(1, frozenset())
    return replace(
        base, chaos_s=chaos_s, followers=3, acts=acts, troubles=troubles, only=leader, numbered=True
    )


#: the process cannot reach the database until its lease is over; the next one has its disk
CUT_OFF: Final = (Trouble(1.0, "database", 8.0, 0.65),)

WORLDS: Final[Mapping[str, Plan]] = {
    # The journal never hears of the stop from the process that confirmed it, nor does the table of switches.
    "a stop that only the exit file holds": small(
        EA_LEADER, (Act(1.2, "switch", "ES", 1, 0.0), Act(12.0, "trade", "ES", 1)), CUT_OFF, chaos_s=13.0
    ),
    # The next process has another disk: what it reads at the brokers is all that speaks of the exits.
    "exits that a lost exit file held": small(
        BOSS_LEADER,
        (Act(0.5, "boss", "ES", 2), Act(2.0, "boss", "ES", -2)),
        (*CUT_OFF, Trouble(2.5, "hand_over")),
        chaos_s=75.0,
    ),
}
