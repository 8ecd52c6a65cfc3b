"""A leader's snapshot: the reset after a gap (R-033). What it shows is true; only what shrinks follows by itself."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kopitra.domain.ids import derived_signal_id
from kopitra.domain.signals import Action, Signal, Source

if TYPE_CHECKING:
    from kopitra.domain.book import Book

_ZERO: Final = Decimal(0)
#: products of one snapshot
POSITIONS_MAX: Final = 200
#: resting orders of one snapshot
ORDERS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class LeaderSnapshot:
    """Everything a leader holds at its act number `sequence`: signed contracts by root; a root that is not named is
    flat. `orders`: ids of its resting orders, None when the sender does not list them."""

    workspace: str
    leader: str
    source: Source
    taken_at: datetime
    positions: tuple[tuple[str, Decimal], ...]
    orders: frozenset[str] | None = None
    sequence: int | None = None


def reductions(snapshot: LeaderSnapshot, book: "Book", received_at: datetime) -> tuple[Signal, ...]:
    """The acts that followers missed, as far as they shrink: exits first, then cancels of orders that are gone.

    Their ids are made from the snapshot, so that the same snapshot twice has one effect. What the leader holds
    beyond what was known is never opened late (R-043): it shows as drift.
    """
    held = dict(snapshot.positions)
    # Two snapshots may differ at one number: acts can pass an EA by.
    stamp = f"{snapshot.sequence or ''}@{snapshot.taken_at.isoformat()}"
    made: list[Signal] = []
    for (leader, root), known in sorted(book.leaders.items()):
        if leader != snapshot.leader:
            continue
        now, was = held.get(root, _ZERO), known.qty
        if was and (was * now < 0 or abs(now) < abs(was)):
            action: Action = "reduce" if was * now > 0 else "exit"
            made.append(_act(snapshot, root, action, (stamp, root), received_at, leader_position=now))
        gone = () if snapshot.orders is None else sorted(known.working.keys() - snapshot.orders)
        for name in gone:
            act = _act(snapshot, root, "cancel", (stamp, root, name), received_at, leader_order_id=name)
            made.append(act)
    return tuple(sorted(made, key=lambda act: act.action == "cancel"))


def _act(
    snapshot: LeaderSnapshot,
    root: str,
    action: Action,
    stamp: tuple[str, ...],
    received_at: datetime,
    *,
    leader_position: Decimal | None = None,
    leader_order_id: str | None = None,
) -> Signal:
    return Signal(
        snapshot.workspace,
        snapshot.leader,
        derived_signal_id(snapshot.leader, "snapshot", *stamp),
        "snapshot",
        action,
        root,
        snapshot.taken_at,
        received_at,
        leader_order_id=leader_order_id,
        leader_position=leader_position,
    )
