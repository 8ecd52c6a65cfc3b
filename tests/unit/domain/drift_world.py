"""A copy world whose broker is compared with the book, as the engine does."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from kopitra.domain.drift import Found, asks_of, find
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import DriftNoted, RepairPlanned, Reported
from kopitra.domain.orders import ZERO
from kopitra.domain.repair import RepairPlan
from kopitra.domain.repairing import NO_WISH, Repairable, Wish, plan_repair
from kopitra.domain.signals import sign
from kopitra.domain.sync import Drift
from tests.unit.domain.copy_world import ESZ6, World, d

NO_AGES: Final[Mapping[str, int]] = MappingProxyType({})


def compared(world: World, account_id: str = "a1", *, leads: bool = False) -> Found:
    """The account against the ledger, which is what the broker would tell."""
    rules = [r for r in world.rules if r.account_id == account_id]
    asks = asks_of(world.book, rules, {r.leader: world.inputs() for r in rules})
    told = {contract: qty for (account, contract), qty in world.ledger.items() if account == account_id}
    return find(world.book, account_id, told, asks, leads=leads)


def planned(
    world: World, wish: Wish = NO_WISH, account_id: str = "a1", price_ages_ms: Mapping[str, int] = NO_AGES
) -> RepairPlan:
    """The repair of everything that differs now."""
    rules = {(r.account_id, r.leader): r for r in world.rules}
    inputs = {r.leader: world.inputs() for r in world.rules}
    found = {account_id: compared(world, account_id)}
    return plan_repair(
        Repairable("w", world.book, found, rules, inputs, world.now, price_ages_ms), wish, "dr1"
    )


def note(world: World, *drifts: Drift) -> None:
    """Two reads have shown it."""
    for drift in drifts:
        world.note(DriftNoted("dr1", drift, "found"))


def repair(world: World, plan: RepairPlan, who: str = "gateway") -> None:
    """Journal the plan and send its orders."""
    world.named(*(i.cl_ord_id for i in plan.intents if i.cl_ord_id not in world.book.orders))
    world.note(RepairPlanned(plan, who))
    world.write(list(plan.intents))


def by_hand(world: World, side: str, qty: Decimal, *, heard: bool = True, number: int = 1) -> None:
    """A person trades in the account; the stream tells of it, or loses it."""
    assert side in ("buy", "sell")
    key = ("a1", ESZ6)
    world.ledger[key] = world.ledger.get(key, ZERO) + qty * sign(side)
    report = ExecutionReport(
        "a1", f"h{number}", "trade", "filled", ESZ6, side, world.now,
        exec_id=f"hx{number}", last_qty=qty, last_px=d(5000),
    )  # fmt: skip
    if heard:
        world.hear(report)


def lost_fill(world: World, side: str, qty: Decimal) -> Reported:
    """An execution of the newest entry that the stream never told; the list tells it later."""
    assert side in ("buy", "sell")
    child = world.child()
    key = ("a1", ESZ6)
    world.ledger[key] = world.ledger.get(key, ZERO) + qty * sign(side)
    return Reported(
        ExecutionReport(
            "a1", f"b-{child.intent.cl_ord_id}", "trade", "filled", ESZ6, side, world.now,
            cl_ord_id=child.intent.cl_ord_id, exec_id="lost", last_qty=qty, last_px=d(5000),
        )
    )  # fmt: skip


def kinds(found: Found) -> list[tuple[str, Decimal]]:
    """(kind, what would have to be traded)."""
    return [(drift.kind, drift.qty) for drift in found.drifts]
