"""What a trial of a safeguard is (T-90), best first. `Seeds`: swarms of the simulation until an invariant breaks.
`Directed`: worlds that were made for it, judged by the invariants. `Worlds`: tests that run one and look closer, where
another layer mends what went wrong. `Cards`: other tests, for what the simulation does not reach.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from tests.faults.knife import Cut

#: what misses a safeguard, as the published table says it
Kind = Literal["seeds", "world", "tests"]
#: seeds that a trial may need (T-90)
TRIES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Seeds:
    """Swarms from seed `first` on; `faults` empty: the classes that each seed draws, else exactly these."""

    kind: ClassVar[Kind] = "seeds"
    faults: frozenset[str] = frozenset()
    first: int = 1


@dataclass(frozen=True, slots=True)
class Directed:
    """Worlds of `tests/faults/directed.py` by their names."""

    kind: ClassVar[Kind] = "world"
    worlds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cards:
    """Tests by their pytest ids; one of them must fail."""

    kind: ClassVar[Kind] = "tests"
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Worlds(Cards):
    """Tests that run a small world of the simulation."""

    kind: ClassVar[Kind] = "world"


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard."""

    name: str
    #: file of the product that holds it
    lives: str
    cut: Cut
    #: invariants or behaviours that break without it
    breaks: tuple[str, ...]
    trial: Seeds | Directed | Cards = Seeds()
    #: seeds or worlds within which the tests of a pull request want it missed; 0: only `make ablate` tries it
    quick: int = 0

    def __post_init__(self) -> None:
        if self.quick and isinstance(self.trial, Cards):
            raise ValueError(f"{self.name}: cards are tried by `make ablate` alone; leave quick out")
