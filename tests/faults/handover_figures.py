"""What hand-overs cost: the gaps that were measured, and how much went on meanwhile (T-24)."""

import asyncio
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.handover_fleet import GRACE_S, TTL_S, Fleet
from tests.faults.runs import commit

Force = Literal["stop", "partition", "database", "kill", "freeze"]


@dataclass(frozen=True, slots=True)
class Gap:
    """One forced hand-over: seconds from the force to the first order of each kind under the next epoch.

    `in_doubt`: orders whose fate the successor had to find out first; entries of their contract wait for that (R-013),
    seconds where the broker must be shown not to have one.
    """

    force: Force
    exits_s: float
    entries_s: float
    dirty: bool
    in_doubt: int


@dataclass(slots=True)
class Figures:
    """Of one campaign or of several, one after the other. `fell`: replicas that lost their lease without being
    forced to."""

    gaps: list[Gap] = field(default_factory=list[Gap])
    forces: list[Force] = field(default_factory=list[Force])
    fell: int = 0
    signals: int = 0
    queued: int = 0
    retried: int = 0
    double_sends: int = 0
    lost: int = 0

    async def judge(self, one: Fleet) -> None:
        """Count what was told, and what the brokers' ledgers say of it."""
        self.signals += len(one.told)
        self.queued += sum(t.status == "queued" for t in one.told)
        self.retried += sum(len(t.refusals) for t in one.told)
        ends = await one.ends()
        self.double_sends += len(ends.doubled) + len(ends.planned_twice)
        self.lost += len(ends.lost)

    @property
    def clean_p95_s(self) -> float | None:
        """Until something was sent again, of hand-overs in good order."""
        clean = sorted(min(g.exits_s, g.entries_s) for g in self.gaps if not g.dirty)
        return clean[max(0, -(-len(clean) * 95 // 100) - 1)] if clean else None

    async def publish(self, path: Path) -> None:
        """Write the figures for the docs, whatever they are."""
        dirty = [g for g in self.gaps if g.dirty]
        known, doubtful = [g for g in dirty if not g.in_doubt], [g for g in dirty if g.in_doubt]
        told = {
            "handovers": len(self.gaps),
            "forces": dict(sorted(Counter(self.forces).items())),
            "unforced": self.fell,
            "signals": self.signals,
            "queued": self.queued,
            "retried": self.retried,
            "lease_ttl_s": TTL_S,
            "exit_grace_s": GRACE_S,
            "clean_gap_p95_s": self.clean_p95_s,
            "dirty_exits_max_s": max((g.exits_s for g in known), default=None),
            "dirty_exits_behind_doubts_max_s": max((g.exits_s for g in doubtful), default=None),
            "dirty_entries_max_s": max((g.entries_s for g in known), default=None),
            "dirty_entries_behind_doubts_max_s": max((g.entries_s for g in doubtful), default=None),
            "gaps": [asdict(g) for g in self.gaps],
            "commit": commit(),
            "double_sends": self.double_sends,
            "lost": self.lost,
        }
        await asyncio.to_thread(path.write_text, json.dumps(told, indent=2) + "\n")
