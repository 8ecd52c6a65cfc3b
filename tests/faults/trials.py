"""What a trial of a safeguard is (T-90). `Seeds`: swarms of the simulation until an invariant breaks. `Crashes`: the
small scenarios, killed before one step after the other. `Directed`: worlds that were made for it. `Cards`: tests that
fail without it, for what the simulation does not reach.
"""

from dataclasses import dataclass
from typing import Final

from tests.faults.knife import Cut

#: seeds or steps that a trial may need (T-90)
TRIES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Seeds:
    """Swarms from seed `first` on; `faults` empty: the classes that each seed draws, else exactly these."""

    faults: frozenset[str] = frozenset()
    first: int = 1


@dataclass(frozen=True, slots=True)
class Crashes:
    """A scenario of the crash sweep, killed before each n-th step."""

    scenario: str
    every: int = 7


@dataclass(frozen=True, slots=True)
class Directed:
    """Worlds of `tests/faults/directed.py` by their names."""

    worlds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cards:
    """Tests by their pytest ids; one of them must fail."""

    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard."""

    name: str
    #: file of the product that holds it
    lives: str
    cut: Cut
    #: invariants or behaviours that break without it
    breaks: tuple[str, ...]
    trial: Seeds | Crashes | Directed | Cards = Seeds()
    #: seeds, steps or worlds within which the tests of a pull request want it missed; 0: only `make ablate` tries it
    quick: int = 0

    def __post_init__(self) -> None:
        if self.quick and isinstance(self.trial, Cards):
            raise ValueError(f"{self.name}: cards are tried by `make ablate` alone; leave quick out")
