"""What became of one seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.invariants import Violation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    violations: tuple[Violation, ...]
    faults: Mapping[str, int]
    steps: int
    virtual_s: float
    quiet_s: float
    placements: int
    trace: tuple[str, ...]
    trace_hash: str
