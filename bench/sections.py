"""What is run, in which order, and how a figure is made of it. The loads are sized to fit five minutes."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.lab import Figure, Lab
from bench.load.section import load
from bench.rig import Process, usage
from bench.rounds import Case, Sample, Series
from bench.subjects import Compared, Running
from bench.tap import Load

FOLLOWERS = 20
SCALES = (20, 100, 500)
START_ACCOUNTS = 200
BROKER_DELAY_MS = 20.0
STORE_DELAY_MS = 5.0
STALLED = (1, 5)

HOT = Load(n=FOLLOWERS, count=150, warmup=15, gap_us=2_000)
SPARSE = Load(n=FOLLOWERS, count=50, warmup=5, gap_us=20_000)
PLAIN = replace(HOT, count=100, warmup=10)
TEXTBOOK = replace(HOT, count=20, warmup=3)
FULL = Load(n=FOLLOWERS, count=400, warmup=40, inflight=16)
#: short, so that it is over before an order that nobody answers is in doubt: doubt stops an account's entries
STALL = HOT
TRIPS = replace(HOT, count=80, warmup=10)
SCALE_SIGNALS = {20: 60, 100: 60, 500: 25}
#: signals that each product has seen before its memory is read
REST_SIGNALS = 5

#: batches of twenty orders per round; the slow ones need fewer to be told apart
CLIENT_BATCHES = {"raw": 200, "own": 200, "socket": 200, "aiohttp": 60, "httpx2": 10}
CLIENT_TIMEOUT_S = 10.0

KB, MB = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Twenty:
    """The processes of the twenty-follower sections."""

    product: Running
    bare: Running
    fanout: Running
    durable: Running


def dispatch(lab: Lab, up: Twenty, stack: ExitStack) -> Iterator[Figure]:
    """G1, G2, G4, G6 burst, G8, G10: a signal every 2 ms."""
    aiohttp = lab.up(stack, Compared("aiohttp"), FOLLOWERS, store=False)
    httpx = lab.up(stack, Compared("httpx-db"), FOLLOWERS, store=True)
    late = replace(HOT, delay_ms=BROKER_DELAY_MS)
    series = lab.interleave(
        (
            Case("fanout", up.fanout, HOT, is_floor=True),
            Case("product", up.product, HOT),
            Case("durable", up.durable, HOT, is_floor=True),
            Case("bare", up.bare, HOT),
            Case("burst", up.product, late),
            Case("aiohttp", aiohttp, PLAIN),
            Case("httpx", httpx, TEXTBOOK),
        )
    )
    p50 = series.p50("product")
    yield from _dispatch_figures(series, "hot")
    yield Figure("G2.20", series.p50("bare"), series.p50("fanout"), series.void("fanout"))
    yield Figure("G4", series.median("product", _ack), series.median("durable", _ack), series.void("durable"))
    yield Figure("G6.burst", series.p50("burst"), p50, series.void("durable"))
    yield Figure("G8.signal", series.cpu_us("product"), series.cpu_us("fanout"), series.void("fanout"))
    yield Figure("G10.aiohttp", p50, series.p50("aiohttp"), series.void("durable"))
    yield Figure("G10.httpx", p50, series.p50("httpx"), series.void("durable"))
    yield Figure("cap.p99", series.p99("product") / 1e3, None, series.void("durable"))


def sparse(lab: Lab, up: Twenty, stack: ExitStack) -> Iterator[Figure]:
    """G1 and G6: a signal every 20 ms, the broker at 0 and at 20 ms."""
    del stack
    series = lab.interleave(
        (
            Case("durable", up.durable, SPARSE, is_floor=True),
            Case("product", up.product, SPARSE),
            Case("late", up.product, replace(SPARSE, delay_ms=BROKER_DELAY_MS)),
        )
    )
    yield from _dispatch_figures(series, "sparse")
    yield Figure("G6.sparse", series.p50("late"), series.p50("product"), series.void("durable"))


def _dispatch_figures(series: Series, pace: str) -> Iterator[Figure]:
    yield Figure(f"G1.{pace}.p50", series.p50("product"), series.p50("durable"), series.void("durable"))
    yield Figure(f"G1.{pace}.p99", series.p99("product"), series.p99("durable"), series.void("durable"))


def _ack(sample: Sample) -> float:
    return sample.reading.ack_p50


def saturation(lab: Lab, up: Twenty, stack: ExitStack) -> Iterator[Figure]:
    """G7: sixteen signals in flight."""
    empty = lab.up(stack, Compared("empty"), 0, store=False)
    series = lab.interleave(
        (
            Case("product", up.product, FULL),
            Case("bare", up.bare, FULL),
            Case("empty", empty, replace(FULL, n=0)),
        )
    )
    rate = series.signals_per_s("product")
    yield Figure("G7.store", rate, series.signals_per_s("bare"))
    yield Figure("G7.route", rate, series.signals_per_s("empty"))
    yield Figure("cap.rate", rate)


def stalls(lab: Lab, up: Twenty, stack: ExitStack) -> Iterator[Figure]:
    """One and five followers whose broker takes their orders and never answers."""
    del stack
    accounts = up.product.accounts
    if not accounts:
        lab.say("  skipped: the subject names no accounts")
        return
    # Spread over the list, so that every broker gets its share of them.
    stalled = {k: accounts[:: len(accounts) // k][:k] for k in STALLED}
    series = lab.interleave(
        (
            Case("durable", up.durable, STALL, is_floor=True),
            Case("none", up.product, STALL),
            *(Case(f"stalled-{k}", up.product, replace(STALL, stalled=stalled[k])) for k in STALLED),
        )
    )
    for k in STALLED:
        yield Figure(f"stall.{k}", series.p99(f"stalled-{k}"), series.p99("none"), series.void("durable"))


def twenty(lab: Lab) -> Iterator[Figure]:
    """Everything at twenty followers, over one set of processes."""
    with ExitStack() as stack:
        product = lab.up(stack, lab.subject, FOLLOWERS, store=True)
        lab.weigh(product, FOLLOWERS)
        up = Twenty(
            product=product,
            bare=lab.up(stack, lab.subject, FOLLOWERS, store=False),
            fanout=lab.up(stack, lab.floor(), FOLLOWERS, store=False),
            durable=lab.up(stack, lab.floor(), FOLLOWERS, store=True),
        )
        for section in (dispatch, sparse, saturation, stalls):
            lab.say(f"{section.__name__} ({lab.elapsed_s():.0f} s)")
            with ExitStack() as inner:
                yield from section(lab, up, inner)
            if section is dispatch:
                yield Figure("memory.20", usage(product.pid).rss_bytes / MB)


def scale(lab: Lab) -> Iterator[Figure]:
    """G2, G3, G8 and memory over 20, 100 and 500 followers, all in the same rounds."""
    with ExitStack() as stack:
        cases: list[Case] = []
        memory: dict[int, int] = {}
        for n in SCALES:
            load = replace(HOT, n=n, count=SCALE_SIGNALS[n], warmup=SCALE_SIGNALS[n] // 10)
            product = lab.up(stack, lab.subject, n, store=True)
            # At rest: what the load leaves is history, which has a bound of its own whatever the followers.
            lab.bench.measure(Case(f"rest-{n}", product, Load(n=n, count=REST_SIGNALS, warmup=0)))
            memory[n] = usage(product.pid).rss_bytes
            cases += [
                Case(f"fanout-{n}", lab.up(stack, lab.floor(), n, store=False), load, is_floor=True),
                Case(f"bare-{n}", lab.up(stack, lab.subject, n, store=False), load),
                Case(f"product-{n}", product, load),
            ]
        series = lab.interleave(cases)
    for n in SCALES[1:]:
        yield Figure(
            f"G2.{n}", series.p50(f"bare-{n}"), series.p50(f"fanout-{n}"), series.void(f"fanout-{n}")
        )
    for low, high in pairwise(SCALES):
        yield _slope(f"G3.{high}", series, series.p50, low, high)
    yield _slope("G8.slope", series, series.cpu_us, SCALES[0], SCALES[-1])
    grown = (memory[SCALES[-1]] - memory[SCALES[0]]) / (SCALES[-1] - SCALES[0])
    yield Figure("memory.slope", grown / KB)


def _slope(key: str, series: Series, figure: Callable[[str], float], low: int, high: int) -> Figure:
    product, floor = (
        (figure(f"{kind}-{high}") - figure(f"{kind}-{low}")) / (high - low) for kind in ("product", "fanout")
    )
    return Figure(key, product, floor, series.void(f"fanout-{low}", f"fanout-{high}"))


@contextmanager
def far_store(dsn: str) -> Generator[tuple[str, Process]]:
    """The same database behind a relay that can be told to be slow."""
    folder = Path(str(conninfo_to_dict(dsn)["host"]))
    relay = Process("slow-store", [sys.executable, "-m", "bench.slow_store", str(folder)])
    try:
        yield make_conninfo(dsn, host=str(relay.ready["folder"])), relay
    finally:
        relay.stop()


def trips(lab: Lab) -> Iterator[Figure]:
    """G5: the durable floor makes exactly one trip to the database, so its growth is the measure."""
    grown: dict[str, list[float]] = {"product": [], "durable": []}
    whole_us: list[float] = []
    with ExitStack() as stack:
        relays: list[Process] = []
        cases: list[Case] = []
        for key, subject in (("product", lab.subject), ("durable", lab.floor())):
            dsn, relay = stack.enter_context(far_store(lab.database()))
            relays.append(relay)
            subject_up = subject.start(FOLLOWERS, dsn=dsn)
            stack.callback(subject_up.stop)
            cases.append(Case(key, subject_up, TRIPS))
        for _ in range(lab.rounds):
            near = _at_distance(lab, relays, cases, 0.0)
            far = _at_distance(lab, relays, cases, STORE_DELAY_MS)
            for key, samples in grown.items():
                samples.append(far[key] - near[key])
            whole_us.append(far["product"])
    yield Figure("G5", median(grown["product"]), median(grown["durable"]))
    yield Figure("cap.commit", median(whole_us) / 1e3)


def _at_distance(lab: Lab, relays: list[Process], cases: list[Case], delay_ms: float) -> dict[str, float]:
    for relay in relays:
        relay.tell(str(delay_ms))
        relay.receive(1.0)
    return {case.key: lab.bench.measure(case).reading.last_p50 for case in cases}


def start(lab: Lab) -> Iterator[Figure]:
    """How long two hundred accounts take from nothing to live."""
    with ExitStack() as stack:
        yield Figure("start.200", lab.up(stack, lab.subject, START_ACCOUNTS, store=True).started_in_s)


def clients(lab: Lab) -> Iterator[Figure]:
    """Which client carries orders: CPU per order of each, over twenty warm connections."""
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        answerer = Process("answerer", [sys.executable, "-m", "bench.clients", "answerer"])
        stack.callback(answerer.stop)
        workers: dict[str, Process] = {}
        for kind in CLIENT_BATCHES:
            port = answerer.port("socket" if kind == "socket" else "http")
            workers[kind] = Process(
                f"client-{kind}", [sys.executable, "-m", "bench.clients", kind, str(port)]
            )
            stack.callback(workers[kind].stop)
        for _ in range(lab.rounds):
            for kind, worker in workers.items():
                worker.tell(str(CLIENT_BATCHES[kind]))
                cpu_us = worker.receive(CLIENT_TIMEOUT_S)["cpu_us"]
                found.setdefault(kind, []).append(float(str(cpu_us)))
    cpu = {kind: median(values) for kind, values in found.items()}
    for kind in ("own", "socket", "aiohttp", "httpx2"):
        yield Figure(f"client.{kind}", cpu[kind], cpu["raw"])


#: the short ones first: what is left of the time belongs to the long ones
SECTIONS: dict[str, Callable[[Lab], Iterator[Figure]]] = {
    "clients": clients,
    "start": start,
    "trips": trips,
    "twenty": twenty,
    "scale": scale,
    "load": load,
}
