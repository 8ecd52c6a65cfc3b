"""L-9: a gateway with 200 accounts, 2,000 open orders and 50 in doubt is killed and started again.

Timed from the launch of the new process until it holds the shard with every session live; the wait for the dead
one's lease is part of it.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from bench.fleet import KEY_ID, LEADER
from bench.lab import Figure, Lab
from bench.load.desk import Desk
from bench.load.site import Site, must, open_site, wait_for
from kopitra.domain.instruments import front_month

#: leads the followers whose orders come into doubt
LOST_LEADER, LOST_KEY, LOST_ACCOUNT = "bench-lost", "lost", "lost"
BID, ASK, RESTING_BELOW = "6800", "6800.25", 6700
REST_TIMEOUT_S: Final = 120.0
LIVE_TIMEOUT_S: Final = 120.0
SETTLED_TIMEOUT_S: Final = 60.0


def recovery(lab: Lab) -> Iterator[Figure]:
    """L-9."""
    sizes = lab.sizes
    with ExitStack() as stack:
        site = open_site(lab, stack, "recovery", sizes.accounts, pass_through=True)
        names = [name for login in site.fleet.logins for name in login.accounts]
        site.invite(
            LOST_LEADER, {LOST_KEY: LOST_ACCOUNT}, names[:: len(names) // sizes.doubts][: sizes.doubts]
        )
        site.control("set-price", symbol=front_month("ES", lab.today()).symbol, bid=BID, ask=ASK)
        _fill_and_kill(lab, site)
        open_orders = site.count(_OPEN)
        begun_s = time.monotonic()
        fresh = site.gateway("fresh")
        must(
            lambda: site.live(fresh),
            LIVE_TIMEOUT_S,
            "the new process to hold the shard with all sessions live",
        )
        live_s = time.monotonic() - begun_s
        settled = wait_for(lambda: not site.count(_DOUBTS) and site.projected(), SETTLED_TIMEOUT_S)
        took = f"{time.monotonic() - begun_s:.0f} s"
        after = f"settled after {took}" if settled else f"{site.count(_DOUBTS)} still so after {took}"
        size = (
            f"{sizes.accounts} accounts, {open_orders} open orders, {site.count(_DOUBTED)} in doubt, {after}"
        )
        yield Figure("L-9.live", live_s, size=size)


def _fill_and_kill(lab: Lab, site: Site) -> None:
    """Resting orders everywhere, then some that their brokers never answer, then SIGKILL."""
    sizes = lab.sizes
    gateway = site.gateway("old")
    must(lambda: site.live(gateway), LIVE_TIMEOUT_S, "the first process to be live")
    desk = Desk(gateway.port(), KEY_ID, LEADER)
    lost = Desk(gateway.port(), LOST_KEY, LOST_ACCOUNT)
    for number in range(sizes.resting):
        _rest(desk, f"rest-{number}", RESTING_BELOW - number)
        wanted = sizes.accounts * (number + 1)
        must(lambda wanted=wanted: site.count(_RESTING) >= wanted, REST_TIMEOUT_S, f"{wanted} resting orders")
    lab.say(f"  {sizes.accounts * sizes.resting} orders rest ({lab.elapsed_s():.0f} s)")
    site.control("set-settings", drop_request_ratio=1.0)
    _rest(lost, "lost", RESTING_BELOW - sizes.resting)
    must(lambda: site.count(_WRITTEN) >= sizes.doubts, REST_TIMEOUT_S, "the orders that nobody answers")
    gateway.kill()
    site.control("set-settings", drop_request_ratio=0.0)
    desk.close()
    lost.close()


def _rest(desk: Desk, name: str, price: int) -> None:
    fields = {"side": "buy", "quantity": "1", "ordType": "limit", "price": str(price), "leaderOrderId": name}
    if not desk.send(name, "enter", **fields):
        raise RuntimeError(f"{name} was not accepted: {desk.statuses}")


_RESTING = "select count(*) from orders where ord_status in ('acked', 'working')"
_WRITTEN = "select count(*) from orders where signal_id = 'lost' and ord_status in ('claimed', 'in_doubt')"
_OPEN = (
    "select count(*) from orders where ord_status in ('acked', 'working', 'claimed', 'in_doubt', 'planned')"
)
# By the journal: it is the truth, the tables for queries only follow it.
_DOUBTS = """
    select count(distinct d.payload ->> 'cl_ord_id') from journal d where d.entry = 'Doubted' and not exists (
        select 1 from journal p
        where p.entry = 'AbsenceProved' and p.payload ->> 'cl_ord_id' = d.payload ->> 'cl_ord_id')"""
_DOUBTED = "select count(distinct payload ->> 'cl_ord_id') from journal where entry = 'Doubted'"
