"""L-1 and L-6: a thousand connections of EAs that beat, and come back all at once after a deployment.

An EA here has a key, a session and a WebSocket (`/trade-agent/v1/link`) of its own (`crowd.py`).
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import msgspec

from bench.lab import Figure, Lab
from bench.load.crowd import Order, Told
from bench.load.site import Site, must, open_site
from bench.rig import Process, usage
from bench.rounds import Refused

FOLLOWERS: Final = 20
#: whom EAs without followers lead: their beats cost no fan-out
SILENT: Final = "bench-ea"
CONNECT_OVER_S: Final = 3.0
ANSWER_SLACK_S: Final = 40.0
ROLE_TIMEOUT_S: Final = 60.0
MB: Final = 1e6


class EaCrowd:
    """The process of the EAs."""

    def __init__(self, stack: ExitStack, count: int) -> None:
        self.count = count
        self._process = Process("crowd", [sys.executable, "-m", "bench.load.crowd"])
        stack.callback(self._process.stop)

    def tell(self, order: Order) -> None:
        self._process.tell(msgspec.json.encode(order).decode())

    def told(self, order: Order) -> Told:
        line = self._process.receive_line(order.over_s + order.patience_s + ANSWER_SLACK_S)
        return msgspec.json.decode(line, type=Told)

    def ask(self, order: Order) -> Told:
        self.tell(order)
        return self.told(order)

    def come(self, port: int) -> Told:
        """Connect everybody, and make sure that all were let in. Raises Refused."""
        found = self.ask(Order("come", port, self.count, over_s=CONNECT_OVER_S))
        if found.statuses != {202: self.count}:
            raise Refused(f"not all {self.count} EAs were let in: {found.statuses}")
        return found


def keys(count: int) -> dict[str, str]:
    """Key id -> account, as `crowd.Ea` has them."""
    return {f"ea{number}": f"ea-{number}" for number in range(count)}


def eas(lab: Lab) -> Iterator[Figure]:
    """L-1, then L-6, on one site."""
    with ExitStack() as stack:
        site = open_site(lab, stack, "eas", FOLLOWERS)
        site.invite(SILENT, keys(lab.sizes.eas))
        old = site.gateway("old")
        crowd = EaCrowd(stack, lab.sizes.eas)
        crowd.come(old.port())
        yield from _idle(lab, old, crowd)
        yield from _deploy(lab, site, old, crowd)


def _idle(lab: Lab, gateway: Process, crowd: EaCrowd) -> Iterator[Figure]:
    sizes = lab.sizes
    before, begun_s = usage(gateway.pid), time.monotonic()
    told = crowd.ask(Order("beat", over_s=sizes.idle_s, every_s=sizes.beat_every_s))
    after, took_s = usage(gateway.pid), time.monotonic() - begun_s
    beats = sum(told.statuses.values())
    if set(told.statuses) != {202}:
        raise Refused(f"heartbeats were not all answered: {told.statuses}")
    size = (
        f"{crowd.count} EA sockets, a beat each {sizes.beat_every_s:g} s, {sizes.idle_s:g} s, {beats} beats"
    )
    yield Figure("L-1.cpu", (after.cpu_us - before.cpu_us) / 1e4 / took_s, size=size)
    yield Figure("L-1.memory", after.rss_bytes / MB, size=size)
    yield Figure("L-1.beat", told.p99_ms, size=size)


def _deploy(lab: Lab, site: Site, old: Process, crowd: EaCrowd) -> Iterator[Figure]:
    """A successor stands by on its own port; the old one is told to stop, and all connections move."""
    fresh = site.gateway("new")
    logins_before = site.logins()
    order = Order("come", fresh.port(), crowd.count, over_s=lab.sizes.reconnect_s)
    crowd.tell(order)
    old.stop()
    told = crowd.told(order)
    must(lambda: site.live(fresh), ROLE_TIMEOUT_S, "the successor to hold the shard with all sessions live")
    lost = crowd.count - told.statuses.get(202, 0)
    logins = site.logins() - logins_before
    size = f"{crowd.count} EA sockets within {order.over_s:g} s, {told.tries} tries"
    yield Figure("L-6.back", told.all_after_s, size=size)
    yield Figure("L-6.lost", lost, size=size)
    accounts = sum(len(login.accounts) for login in site.fleet.logins)
    size = f"{logins} logins, {len(site.fleet.logins)} sessions, {accounts} accounts"
    yield Figure("L-6.logins", logins / accounts, size=size)
