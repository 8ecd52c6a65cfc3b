"""The plain numbers of the hot path are scraped exactly as the library's own metrics would be."""

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kopitra.telemetry import HOP_BUCKETS_S, HopTimes, Tally

_CREATED = re.compile(r"(?m)^(# (HELP|TYPE) )?\w+_created.*\n")


def _scraped(registry: CollectorRegistry) -> str:
    return _CREATED.sub("", generate_latest(registry).decode())


@given(st.lists(st.floats(0, 4) | st.sampled_from(HOP_BUCKETS_S)))
def test_hop_times_read_like_a_histogram(durations_s: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = HopTimes("hop_seconds", "Hops.", ours).of("plan")
    histogram = Histogram("hop_seconds", "Hops.", ["hop"], buckets=HOP_BUCKETS_S, registry=theirs)
    child = histogram.labels("plan")
    for duration_s in durations_s:
        times.observe(duration_s)
        child.observe(duration_s)

    assert _scraped(ours) == _scraped(theirs)


def test_a_tally_reads_like_a_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("ends_total", "Ends.", "state", ours)
    counter = Counter("ends_total", "Ends.", ["state"], registry=theirs)
    for state, ends in (("filled", 3), ("canceled", 0)):
        tally.counts[state] = ends
        counter.labels(state).inc(ends)

    assert _scraped(ours) == _scraped(theirs)
