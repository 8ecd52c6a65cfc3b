"""What became of one seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.faults.invariants import Violation


class Accounts(NamedTuple):
    """What became of the signals that an EA tried (I-04). Lost, doubled and unexpected ones are violations."""

    attempted: int = 0
    #: answered by 202
    acknowledged: int = 0
    #: of them: a try went without an answer, and the plan was there all the same, once
    recovered: int = 0


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
    accounts: Accounts
