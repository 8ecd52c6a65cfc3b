"""L-4: a thousand signals in one second, each from an EA of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from bench.lab import Figure, Lab
from bench.load.crowd import Order
from bench.load.eas import FOLLOWERS, MB, EaCrowd, keys
from bench.load.site import open_site, wait_for
from bench.rig import peak_bytes, reset_peak, usage
from bench.subjects import TEMPLATES
from bench.tap import Load

#: a leader like the bench's own, with the same followers
BOLD: Final = "bench-burst"
WITHIN_S: Final = 1.0
PATIENCE_S: Final = 60.0
WARM: Final = Load(n=FOLLOWERS, count=30, warmup=0)
ANSWERS: Final = frozenset({202, 429, 503})


def burst(lab: Lab) -> Iterator[Figure]:
    """What was accepted ends, what was not is refused at once, memory comes back."""
    sizes = lab.sizes
    with ExitStack() as stack:
        site = open_site(lab, stack, "burst", FOLLOWERS)
        names = [name for login in site.fleet.logins for name in login.accounts]
        site.invite(BOLD, keys(sizes.burst), names)
        gateway = site.gateway()
        crowd = EaCrowd(stack, sizes.burst)
        crowd.ask(Order("open", gateway.port(), crowd.count, over_s=WITHIN_S))
        site.fleet.tap.run(gateway.port(), TEMPLATES, WARM, 1)
        site.quiet()
        planned = site.count(_PLANNED)
        before = usage(gateway.pid).rss_bytes
        reset_peak(gateway.pid)
        told = crowd.ask(Order("burst", over_s=WITHIN_S, patience_s=PATIENCE_S, name="burst"))
        site.quiet()
        gateway.check_alive()
        peak = peak_bytes(gateway.pid)
        allowed = before + (peak - before) // 5
        wait_for(lambda: usage(gateway.pid).rss_bytes <= allowed, sizes.settle_s)
        accepted = told.statuses.get(202, 0)
        refused = told.statuses.get(429, 0) + told.statuses.get(503, 0)
        strange = sum(count for status, count in told.statuses.items() if status not in ANSWERS)
        lost = accepted - (site.count(_PLANNED) - planned)
        size = (
            f"{sizes.burst} signals x {FOLLOWERS} in {WITHIN_S:g} s: {accepted} accepted, {refused} refused"
        )
        yield Figure("L-4.lost", max(0, lost) + site.unfinished() + strange, size=size)
        yield Figure("L-4.refused", told.refused_max_ms, size=size)
        yield Figure("L-4.peak", (peak - before) / MB, size=size)
        held = max(0, usage(gateway.pid).rss_bytes - before)
        yield Figure("L-4.held", held / MB, size=f"{size}; after {sizes.settle_s:g} s")


_PLANNED = "select count(*) from signal_ids"
