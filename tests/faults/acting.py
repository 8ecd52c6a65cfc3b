"""What the leaders and the operator of a plan do, given where things stand when they do it."""

import asyncio
from typing import TYPE_CHECKING

from tests.faults.house import BOSS, BOSS_LEADER, EA_LEADER, WORKSPACE
from tests.faults.swarm import Act

if TYPE_CHECKING:
    from tests.faults.world import World


def perform(world: "World", act: Act) -> None:
    """One act."""
    world.trace(f"ACT {act.kind} {act.root} {act.qty:+d}")
    match act.kind:
        case "trade" | "bracket" | "rest" | "move" | "cancel" | "exit":
            _ea(world, act)
        case "boss":
            world.hand(BOSS).trade(world.contracts[act.root], act.qty)
        case "boss_rest":
            price = world.market.near(act.root, act.qty, act.draw)
            world.hand(BOSS).rest(world.contracts[act.root], act.qty, price)
        case "boss_cancel":
            world.hand(BOSS).cancel_one(act.draw)
        case "switch":
            _switch(world, act)


def _ea(world: "World", act: Act) -> None:
    ea = world.ea
    resting = sorted(ea.resting)
    chosen = resting[int(act.draw * len(resting))] if resting else ""
    match act.kind:
        case "bracket":
            stop, target = 2 + int(act.draw * 12), 2 + int(act.draw * 30) % 9
            ea.trade(
                act.root,
                act.qty,
                stopLoss={"offset": str(stop)},
                takeProfits=[{"offset": str(target)}],
            )
        case "rest":
            ea.rest(act.root, act.qty, world.market.far(act.root, act.qty, act.draw))
        case "move":
            if chosen:
                root, side = ea.resting[chosen]
                ea.move(chosen, world.market.far(root, 1 if side == "buy" else -1, act.draw * 0.7))
        case "cancel":
            if chosen:
                ea.cancel(chosen)
        case "exit":
            ea.leave(act.root)
        case _:
            ea.trade(act.root, act.qty)


def _switch(world: "World", act: Act) -> None:
    """Stop something, or let it go on."""
    followers = sorted(world.followers)
    targets = [
        ("workspace", WORKSPACE),
        ("leader", EA_LEADER),
        ("leader", BOSS_LEADER),
        *(("account", account_id) for account_id in followers),
    ]
    scope, scope_id = targets[int(act.draw * len(targets))]
    stronger = "halted" if act.qty > 1 else "reducing"
    state = "active" if (scope, scope_id) in world.operator.in_force else stronger
    world.asked.append((scope, scope_id))
    asyncio.get_running_loop().create_task(world.operator.set(scope, scope_id, state))
