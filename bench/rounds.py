"""Interleaved rounds and the rules that make a noisy machine say something true.

Floor and product take turns inside every round; a figure is the median over rounds of a round's own
percentile. A round whose floor is itself off is measured again, a bounded number of times; what still cannot
be trusted is marked void and not judged. A run with an order missing or doubled is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median

from bench.rig import usage
from bench.subjects import Running
from bench.tap import Load, Reading

#: A floor whose p99 is this many times its p50 was disturbed.
FLOOR_TAIL_MAX = 6.0
#: A floor whose slowest round (by p50) is this many times its fastest stood on a machine that changed.
FLOOR_SPREAD_MAX = 1.6


class Refused(Exception):
    """Latency without completeness is worthless: an order was missing, doubled, or a signal not accepted."""


@dataclass(frozen=True, slots=True)
class Case:
    """One subject under one load."""

    key: str
    subject: Running
    load: Load
    is_floor: bool = False  #: this case's own steadiness decides whether its round counts


@dataclass(frozen=True, slots=True)
class Sample:
    """What one case gave in one round."""

    reading: Reading
    cpu_us_per_signal: float


Round = dict[str, Sample]
#: Asked with the number of rounds repeated so far.
MayRepeat = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Series:
    """All kept rounds of one group of cases."""

    rounds: tuple[Round, ...]
    discarded: int
    faults: dict[str, str]  #: floors that did not hold still, and how

    def void(self, *floors: str) -> str | None:
        """Why a figure that rests on these floors may not be judged; without a name: on any of them."""
        return next((self.faults[floor] for floor in floors or self.faults if floor in self.faults), None)

    def median(self, key: str, figure: Callable[[Sample], float]) -> float:
        return median(figure(one[key]) for one in self.rounds)

    def p50(self, key: str) -> float:
        return self.median(key, lambda s: s.reading.last_p50)

    def p99(self, key: str) -> float:
        return self.median(key, lambda s: s.reading.last_p99)

    def cpu_us(self, key: str) -> float:
        return self.median(key, lambda s: s.cpu_us_per_signal)

    def signals_per_s(self, key: str) -> float:
        return self.median(key, lambda s: s.reading.signals_per_s)


class Bench:
    """Measures cases; every signal of one bench has its own id, whoever gets it."""

    def __init__(self) -> None:
        self._next_id = 1

    def measure(self, case: Case) -> Sample:
        load, subject = case.load, case.subject
        first_id = self._next_id
        self._next_id += load.count + load.warmup
        before = usage(subject.pid).cpu_us
        reading = subject.tap.run(subject.port, subject.templates, load, first_id)
        spent = usage(subject.pid).cpu_us - before
        complaint = reading.complaint()
        if complaint:
            raise Refused(f"{case.key}: {complaint}")
        return Sample(reading, spent / reading.signals)

    def interleave(self, cases: Sequence[Case], rounds: int, may_repeat: MayRepeat) -> Series:
        """Round after round over all cases; every other one backwards, so that none is always first."""
        turn = count()

        def one_round() -> Round:
            order = cases if next(turn) % 2 == 0 else tuple(reversed(cases))
            return {case.key: self.measure(case) for case in order}

        return collect(one_round, [c.key for c in cases if c.is_floor], rounds, may_repeat)


def tail(sample: Sample) -> float:
    """How far the slow end is from the middle."""
    return sample.reading.last_p99 / sample.reading.last_p50


def spread(rounds: Sequence[Round], floor: str) -> float:
    """Slowest over fastest round of one floor, by p50."""
    middles = [one[floor].reading.last_p50 for one in rounds]
    return max(middles) / min(middles)


def outlier(rounds: Sequence[Round], floor: str) -> int:
    """The round whose floor lies farthest from the median, as a factor in either direction."""
    middles = [one[floor].reading.last_p50 for one in rounds]
    middle = median(middles)
    return max(range(len(middles)), key=lambda i: max(middles[i] / middle, middle / middles[i]))


def fault(rounds: Sequence[Round], floor: str) -> tuple[int, str] | None:
    """The round this floor makes doubtful and why, or None when it held still."""
    for i, one in enumerate(rounds):
        if (ratio := tail(one[floor])) > FLOOR_TAIL_MAX:
            return i, f"{floor}: p99 is {ratio:.1f} times p50 (over {FLOOR_TAIL_MAX})"
    if (width := spread(rounds, floor)) > FLOOR_SPREAD_MAX:
        return outlier(rounds, floor), f"{floor}: rounds differ {width:.2f} times (over {FLOOR_SPREAD_MAX})"
    return None


def collect(
    one_round: Callable[[], Round], floors: Sequence[str], rounds: int, may_repeat: MayRepeat
) -> Series:
    """`rounds` rounds; one whose floor was off is replaced as long as `may_repeat` allows it."""
    kept = [one_round() for _ in range(rounds)]
    discarded = 0
    while True:
        faults = {floor: found for floor in floors if (found := fault(kept, floor))}
        if not faults or not may_repeat(discarded):
            return Series(tuple(kept), discarded, {floor: why for floor, (_, why) in faults.items()})
        kept[next(iter(faults.values()))[0]] = one_round()
        discarded += 1
