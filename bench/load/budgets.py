"""L-3: twenty accounts, a hundred signals a minute with brackets and stop moves, under the brokers' own budgets.

What does not fit a budget is not sent; then the reason must be there, and exits must leave all the same. Simulators
match and fill here: brackets need fills.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench.fleet import KEY_ID, LEADER
from bench.lab import Figure, Lab
from bench.load.crowd import rank_ms
from bench.load.desk import Desk
from bench.load.eas import FOLLOWERS
from bench.load.site import open_site
from bench.rounds import Refused
from kopitra.domain.instruments import front_month
from kopitra.wire.views import OrderView, SignalView

#: signals a minute: each round trip is an entry with stop and target, two moves of the stop, and the exit
PER_MINUTE: Final = 100
TRIP: Final = ("enter", "move", "move", "exit")
BID, ASK = "6800", "6800.25"
#: both far from the market: the exit ends the trade
STOP, STEP, TARGET_POINTS = 6700, 5, "100"
EXPECTED: Final = frozenset({202, 429, 503})
NEVER_SENT: Final = ("skipped", "not_placed", "rejected", "planned")


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the signals for each follower."""

    orders: int
    unsent: int
    unexplained: int  #: not sent or refused, and no reason says why
    exits_ms: tuple[float, ...]  #: from the receipt of an exit to its order's write


def fates(views: Sequence[SignalView]) -> Fates:
    """Sum up what the gateway tells of its signals."""
    orders = [(view.action, order) for view in views for leg in view.legs for order in leg.orders]
    silent_legs = sum(
        1 for view in views for leg in view.legs if leg.outcome != "approved" and not leg.reason
    )
    unsent = [order for _, order in orders if order.state in NEVER_SENT]
    return Fates(
        orders=len(orders),
        unsent=len(unsent),
        unexplained=silent_legs + sum(1 for order in unsent if not order.reason),
        exits_ms=tuple(o.hops["sent"] / 1e3 for action, o in orders if _is_sent_exit(action, o)),
    )


def _is_sent_exit(action: str, order: OrderView) -> bool:
    return action == "exit" and order.role == "exit" and "sent" in order.hops


def budgets(lab: Lab) -> Iterator[Figure]:
    """L-3."""
    with ExitStack() as stack:
        site = open_site(lab, stack, "budgets", FOLLOWERS, pass_through=True, tuned=False)
        symbol = front_month("ES", lab.today()).symbol
        site.control("set-price", symbol=symbol, bid=BID, ask=ASK)
        gateway = site.gateway()
        desk = Desk(gateway.port(), KEY_ID, LEADER)
        stack.callback(desk.close)
        sent = _trade(desk, round(lab.sizes.desk_s * PER_MINUTE / 60))
        if set(desk.statuses) - EXPECTED:
            raise Refused(f"the door did not take the acts as meant: {desk.statuses}")
        site.quiet()
        found = fates([desk.view(name) for name in sent])
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(desk.statuses.items()))
        size = (
            f"{FOLLOWERS} accounts, {PER_MINUTE}/min for {lab.sizes.desk_s:g} s ({answers}), "
            f"{found.orders} orders, {found.unsent} not sent"
        )
        yield Figure("L-3.lost", site.unfinished(), size=size)
        yield Figure("L-3.unexplained", found.unexplained, size=size)
        exits_s = [took_ms / 1e3 for took_ms in found.exits_ms]
        void = None if exits_s else "no exit was sent"
        yield Figure("L-3.exits", rank_ms(exits_s, 0.99), void=void, size=f"{size}, {len(exits_s)} exits")


def _trade(desk: Desk, signals: int) -> list[str]:
    """Send round trips at an even pace; the ids of what was accepted. The last trip is a whole one."""
    accepted: list[str] = []
    begun_s = time.monotonic()
    for number in range(-(-signals // len(TRIP)) * len(TRIP)):
        time.sleep(max(0.0, begun_s + number * 60 / PER_MINUTE - time.monotonic()))
        trip, step = divmod(number, len(TRIP))
        name = f"trip-{trip}-{step}"
        if _act(desk, name, f"order-{trip}", step):
            accepted.append(name)
    return accepted


def _act(desk: Desk, name: str, order: str, step: int) -> bool:
    match TRIP[step]:
        case "enter":
            return desk.send(
                name, "enter", side="buy", quantity="1", price=ASK, leaderOrderId=order,
                stopLoss={"price": str(STOP)}, takeProfits=[{"offset": TARGET_POINTS}],
            )  # fmt: skip
        case "move":
            stop = {"price": str(STOP + STEP * step)}
            return desk.send(name, "replace", origLeaderOrderId=order, stopLoss=stop)
        case _:
            return desk.send(name, "exit", leaderPosition="0")
