"""The section `load`: the parts one after the other, dearest last."""

from collections.abc import Callable, Iterator
from typing import Final

from bench.lab import Figure, Lab
from bench.load.budgets import budgets
from bench.load.burst import burst
from bench.load.eas import eas
from bench.load.rates import rate, stalls
from bench.load.recovery import recovery
from bench.rig import BenchError
from bench.rounds import Refused

#: no part starts after this in a whole run of the bench
PART_LAST_START_S: Final = 415.0

PARTS: Final[dict[str, Callable[[Lab], Iterator[Figure]]]] = {
    "eas": eas,
    "burst": burst,
    "stalls": stalls,
    "budgets": budgets,
    "recovery": recovery,
    "rate": rate,
}


def load(lab: Lab) -> Iterator[Figure]:
    """Every chosen part; one that proved nothing does not stop the others."""
    for name in lab.loads or PARTS:
        if not lab.loads and lab.elapsed_s() > PART_LAST_START_S:
            lab.say(f"  {name}: left out, no time is left; run it alone with --only load --load {name}")
            continue
        lab.say(f"  {name} ({lab.elapsed_s():.0f} s)")
        try:
            yield from PARTS[name](lab)
        except (Refused, BenchError) as why:
            lab.say(f"  REFUSED {why}")
            lab.refused.append(f"load {name}: {why}")
