"""L-2 and L-5: signals at a steady rate, open loop, before twenty followers whose brokers answer after 20 ms."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import cpu_count
from statistics import median
from typing import Final

from bench.lab import Figure, Lab
from bench.load.eas import FOLLOWERS
from bench.load.site import Site, open_site, scrape
from bench.rig import Process, Usage
from bench.rounds import Refused
from bench.subjects import TEMPLATES
from bench.tap import Load, Reading

BROKER_DELAY_MS: Final = 20.0
#: signals a second that L-2 asks for
GOAL_RATE: Final = 100
RATES: Final = (10, 20, 30, 40, 50, 60, 75, GOAL_RATE, 125, 150, 200)
#: connections that the signals come on, so that a slow answer does not hold back the next signal
LANES: Final = 128
#: after the last signal was due
DRAIN_S: Final = 10.0
ACCEPT_P99_MS, LAST_P99_MS, LAG_P99_MS = 50.0, 150.0, 50.0
#: rates that get a whole run: where the first does not hold that long, one that is clearly lower
WHOLE_RUNS_MAX: Final = 2
CLEARLY_LOWER: Final = 0.75
#: L-5 compares tails of a gateway that is not full
STALL_RATE: Final = 10
STALLED: Final = (1, 5)
#: of one core, or of all of them: from here on it is what limits
FULL_CORE, FULL_MACHINE = 0.85, 0.9
_WARM: Final = Load(n=FOLLOWERS, count=50, warmup=0)


@dataclass(frozen=True, slots=True)
class Run:
    """One run at one rate."""

    rate: int  #: signals a second
    seconds: float
    reading: Reading
    lag_p99_ms: float
    cores: Mapping[str, float]  #: cores that each part kept busy

    @property
    def lost(self) -> int:
        """Signals without a 202, and orders that never came."""
        return self.reading.missing + self.reading.unanswered + self.reading.errors

    @property
    def holds(self) -> bool:
        """Everything that L-2 asks, at this rate."""
        reading = self.reading
        return (
            not self.lost
            and not reading.extra
            and reading.signals >= self.rate * self.seconds
            and reading.ack_p99 / 1e3 <= ACCEPT_P99_MS
            and reading.last_p99 / 1e3 <= LAST_P99_MS
            and self.lag_p99_ms <= LAG_P99_MS
        )


def limit_of(cores: Mapping[str, float], machine_cores: int) -> str:
    """Which part limits: the one loop of the gateway, the machine as a whole, or neither (then it waits)."""
    shares = ", ".join(f"{part} {busy:.0%}" for part, busy in cores.items())
    if cores["gateway"] >= FULL_CORE:
        return f"the gateway's one loop limits ({shares} of a core)"
    if sum(cores.values()) >= FULL_MACHINE * machine_cores:
        return f"the machine's {machine_cores} cores limit ({shares} of a core)"
    return f"no core is full, waiting limits ({shares} of a core)"


def largest(rates: Sequence[int], holds: Callable[[int], bool]) -> int:
    """The largest rate that holds, by bisection; 0 when none does."""
    low, high = -1, len(rates)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(rates[middle]) else (low, middle)
    return rates[low] if low >= 0 else 0


def percentile_ms(buckets: Mapping[float, float], share: float) -> float:
    """A percentile of a histogram (upper bound in seconds -> cumulative count), linear inside its bucket."""
    bounds = sorted(buckets)
    wanted = share * buckets[bounds[-1]] if bounds else 0.0
    lower_s = below = 0.0
    for bound_s in bounds:
        count = buckets[bound_s]
        if count >= wanted and count > below:
            upper_s = bound_s if bound_s != float("inf") else lower_s
            return (lower_s + (upper_s - lower_s) * (wanted - below) / (count - below)) * 1e3
        lower_s, below = bound_s, count
    return 0.0


def rate(lab: Lab) -> Iterator[Figure]:
    """L-2: first the goal's rate, then the search; the rate that is named has held for the whole run."""
    sizes = lab.sizes
    first = _fresh_run(lab, GOAL_RATE, sizes.probe_s)
    tried = {GOAL_RATE: first}

    def holds(per_s: int) -> bool:
        found = tried.get(per_s) or _fresh_run(lab, per_s, sizes.probe_s)
        tried[per_s] = found
        return found.holds

    goal = RATES.index(GOAL_RATE)
    best = largest(RATES[goal:] if first.holds else RATES[:goal], holds)
    whole: dict[int, Run] = {}
    while best and len(whole) < WHOLE_RUNS_MAX:
        whole[best] = _fresh_run(lab, best, sizes.rate_s)
        if whole[best].holds:
            break
        best = max((r for r in RATES if r <= best * CLEARLY_LOWER), default=0)
    if best not in whole:
        best = 0
    # The goal's figures are those of the goal's rate, as long a run of it as there is.
    judged = whole.get(GOAL_RATE) or tried[GOAL_RATE]
    if best > GOAL_RATE:
        judged = _fresh_run(lab, GOAL_RATE, sizes.rate_s)
    yield from _figures(judged)
    failed = [run for run in (*tried.values(), *whole.values()) if not run.holds]
    wall = min(failed, key=lambda run: run.rate, default=whole.get(best))
    told = f"{sizes.rate_s:g} s" if best else "none that was tried held"
    size = f"x {FOLLOWERS}, {told}; tries of {sizes.probe_s:g} s"
    if wall is not None:
        size += f"; at {wall.rate}/s {limit_of(wall.cores, cpu_count() or 1)}"
    yield Figure("L-2.rate", best, size=size)


def _figures(run: Run) -> Iterator[Figure]:
    reading = run.reading
    size = f"{run.rate}/s x {FOLLOWERS}, {run.seconds:g} s, {reading.signals} signals, broker {BROKER_DELAY_MS:g} ms"
    yield Figure("L-2.accept", reading.ack_p99 / 1e3, size=size)
    yield Figure("L-2.last", reading.last_p99 / 1e3, size=size)
    yield Figure("L-2.lost", run.lost, size=size)
    yield Figure("L-2.double", reading.extra, size=size)
    yield Figure("L-2.lag", run.lag_p99_ms, size=size)


def _fresh_run(lab: Lab, per_s: int, seconds: float) -> Run:
    """On a site of its own: what an overloaded gateway still sends late must not count for the next run."""
    with ExitStack() as stack:
        site = open_site(lab, stack, f"rate-{per_s}", FOLLOWERS)
        gateway = site.gateway()
        _warm(site, gateway)
        before, lag_before = site.used(gateway), _lag(gateway)
        reading = site.fleet.tap.run(gateway.port(), TEMPLATES, _load(per_s, seconds), _WARM.count + 1)
        used, lag = site.used(gateway), _lag(gateway)
        lag_ms = percentile_ms({bound: lag[bound] - lag_before.get(bound, 0.0) for bound in lag}, 0.99)
        run = Run(per_s, seconds, reading, lag_ms, _busy(before, used, max(reading.span_s, 1e-3)))
    lab.say(f"  {per_s}/s for {seconds:g} s {'holds' if run.holds else 'does not hold'}: {_words(run)}")
    return run


def _warm(site: Site, gateway: Process) -> None:
    complaint = site.fleet.tap.run(gateway.port(), TEMPLATES, _WARM, 1).complaint()
    if complaint:
        raise Refused(f"warming {site.name}: {complaint}")


def _load(per_s: int, seconds: float, stalled: tuple[int, ...] = ()) -> Load:
    return Load(
        n=FOLLOWERS,
        count=int(per_s * seconds),
        warmup=0,
        inflight=LANES,
        rate_per_s=per_s,
        delay_ms=BROKER_DELAY_MS,
        stalled=stalled,
        deadline_s=seconds + DRAIN_S,
    )


def _busy(before: Mapping[str, Usage], after: Mapping[str, Usage], seconds: float) -> dict[str, float]:
    return {part: (after[part].cpu_us - before[part].cpu_us) / 1e6 / seconds for part in before}


def _lag(gateway: Process) -> dict[float, float]:
    found = scrape(gateway.port(), "kopitra_loop_lag_seconds_bucket")
    return {float(dict(labels)["le"]): value for labels, value in found.items()}


def _words(run: Run) -> str:
    reading = run.reading
    return (
        f"accept p99 {reading.ack_p99 / 1e3:.1f} ms, last p99 {reading.last_p99 / 1e3:.1f} ms, lost {run.lost}, "
        f"double {reading.extra}, loop lag p99 {run.lag_p99_ms:.1f} ms, {limit_of(run.cores, cpu_count() or 1)}"
    )


def stalls(lab: Lab) -> Iterator[Figure]:
    """L-5: three gateways take turns; the followers that stall do so in every run of their gateway."""
    sizes = lab.sizes
    p99_us: dict[int, list[float]] = {count: [] for count in (0, *STALLED)}
    with ExitStack() as stack:
        up: dict[int, tuple[Site, Process, tuple[int, ...]]] = {}
        for count in p99_us:
            site = open_site(lab, stack, f"stall-{count}", FOLLOWERS)
            gateway = site.gateway()
            _warm(site, gateway)
            numbers = site.fleet.numbers
            up[count] = (site, gateway, numbers[:: len(numbers) // count][:count] if count else ())
        for turn in range(sizes.stall_rounds):
            for count, (site, gateway, stalled) in up.items():
                reading = _stall_run(lab, site, gateway, stalled, turn)
                p99_us[count].append(reading.last_p99)
    size = f"{STALL_RATE}/s x {FOLLOWERS}, {sizes.stall_rounds} rounds of {sizes.stall_s:g} s"
    for count in STALLED:
        yield Figure(f"L-5.{count}", median(p99_us[count]) / 1e3, median(p99_us[0]) / 1e3, size=size)


def _stall_run(lab: Lab, site: Site, gateway: Process, stalled: tuple[int, ...], turn: int) -> Reading:
    load = _load(STALL_RATE, lab.sizes.stall_s, stalled)
    reading = site.fleet.tap.run(gateway.port(), TEMPLATES, load, _WARM.count + 1 + turn * load.count)
    if complaint := reading.complaint():
        raise Refused(f"{len(stalled)} stalled: {complaint}")
    return reading
