"""What goes wrong at one time: with lines, brokers, processes, the database, and at the accounts themselves."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from kopitra.domain.book import root_of
from tests.faults.house import BOSS
from tests.faults.rude_broker import WORLD, Line
from tests.faults.swarm import Trouble

if TYPE_CHECKING:
    from tests.faults.world import World

#: seconds that an old and a new process live side by side, at most
OVERLAP_S: Final = 2.0


def strike(world: "World", trouble: Trouble) -> None:
    """One trouble."""
    _STRIKES[trouble.kind](world, trouble)


def _later(world: "World", delay_s: float, act: Callable[[], None]) -> None:
    world.loop.call_later(delay_s, act, context=WORLD.context)


def _line(world: "World", trouble: Trouble) -> Line | None:
    lines = [line for broker in world.brokers for line in broker.all_lines()]
    return lines[int(trouble.draw * len(lines))] if lines else None


def _line_drop(world: "World", trouble: Trouble) -> None:
    line = _line(world, trouble)
    if line is not None:
        world.count("line drop", line.ear.login_id)
        _broker_of(world, line).hang_up(line, "connection reset")


def _half_open(world: "World", trouble: Trouble) -> None:
    line = _line(world, trouble)
    if line is not None:
        world.count("half open", line.ear.login_id)
        _broker_of(world, line).half_open(line)


def _deafen_boss(world: "World", trouble: Trouble) -> None:
    """The leader's own line, for regressions."""
    del trouble
    for broker in world.brokers:
        for line in broker.all_lines():
            if BOSS in line.ear.login_id:
                broker.half_open(line)


def _broker_of(world: "World", line: Line):
    return next(b for b in world.brokers if line in b.lines.get(line.ear.login_id, ()))


def _maintenance(world: "World", trouble: Trouble) -> None:
    broker = world.brokers[int(trouble.draw * len(world.brokers))]
    world.count("maintenance", f"{broker.code} for {trouble.for_s:.1f} s")
    broker.down = True
    broker.restart("maintenance")

    def over() -> None:
        broker.down = False

    _later(world, trouble.for_s, over)


def _halt(world: "World", trouble: Trouble) -> None:
    symbols = sorted(world.contracts.values())
    symbol = symbols[int(trouble.draw * len(symbols))]
    world.count("halt", f"{symbol} for {trouble.for_s:.1f} s")
    for broker in world.brokers:
        broker.happened(broker.core.halt(symbol, broker.now_ns))

    def over() -> None:
        for broker in world.brokers:
            broker.happened(broker.core.resume(symbol, broker.now_ns))

    _later(world, trouble.for_s, over)


def _human(world: "World", trouble: Trouble) -> None:
    followers = sorted(world.followers)
    account_id = followers[int(trouble.draw * len(followers))]
    world.checker.touched.add(account_id)
    world.checker.hands.add(account_id)
    world.count("human", account_id)
    hand, choice = world.hand(account_id), int(trouble.draw * 997) % 4
    symbol = sorted(world.contracts.values())[int(trouble.draw * 991) % 2]
    if choice == 0:
        hand.trade(symbol, 1 if int(trouble.draw * 983) % 2 else -1)
    elif choice == 1:
        hand.cancel_one(trouble.draw)
    elif choice == 2:
        qty = 1 if int(trouble.draw * 983) % 2 else -1
        hand.rest(symbol, qty, Decimal(world.market.far(root_of(symbol), qty, trouble.draw)))
    else:
        hand.close(symbol)


def _liquidation(world: "World", trouble: Trouble) -> None:
    followers = sorted(world.followers)
    account_id = followers[int(trouble.draw * len(followers))]
    world.checker.touched.add(account_id)
    world.checker.hands.add(account_id)
    world.count("liquidation", account_id)
    broker = world.brokers[world.broker_of(account_id)]
    broker.happened(broker.core.liquidate(broker.accounts[account_id], broker.now_ns))


def _crash(world: "World", trouble: Trouble) -> None:
    del trouble
    if world.gateways:
        world.count("crash", world.gateways[0].name)
        world.kill(world.gateways[0])


def _hand_over(world: "World", trouble: Trouble) -> None:
    """A deployment: the new one is there, then the old one is told to stop."""
    if not world.gateways:
        return
    old = world.gateways[0]
    world.count("hand-over", old.name)
    world.start_gateway()
    _later(world, trouble.draw * OVERLAP_S, old.stop)


def _pause(world: "World", trouble: Trouble) -> None:
    if not world.gateways:
        return
    gateway = world.gateways[0]
    world.count("pause", f"{gateway.name} for {trouble.for_s:.1f} s")
    gateway.process.paused = True

    def over() -> None:
        if gateway.process.alive and gateway.process.paused:
            world.loop.go_on(gateway.process)

    if trouble.draw < 0.5:
        world.start_gateway()  # the orchestrator thinks that it is dead
    _later(world, trouble.for_s, over)


def _database(world: "World", trouble: Trouble) -> None:
    """It crashes, hangs, is unreachable for one process, or commits and does not say so."""
    kind = ("crash", "torn crash", "slow disk", "unreachable", "answers lost")[int(trouble.draw * 5)]
    world.count("database", f"{kind} for {trouble.for_s:.1f} s")
    wires = [g.wire for g in world.gateways]
    if kind.endswith("crash"):
        world.store.crash(torn=kind == "torn crash")
        _later(world, trouble.for_s, world.store.recover)
    elif kind == "slow disk":
        world.store.slow_commits()
        _later(world, min(trouble.for_s, 8.0), world.store.fast_commits)
    elif kind == "unreachable":
        for wire in wires:
            wire.down()
            _later(world, trouble.for_s, wire.up)
    else:
        for wire in wires:
            wire.lose_answers = True
            _later(world, min(trouble.for_s, 5.0), wire.up)


def _flatten(world: "World", trouble: Trouble) -> None:
    followers = sorted(world.followers)
    account_id = followers[int(trouble.draw * len(followers))]
    world.checker.touched.add(account_id)
    times = 2 if trouble.for_s > 0.3 else 1
    world.count("flatten", f"{account_id}, asked {times} times")
    for number in range(times):
        _later(world, number * (trouble.for_s - 0.3), partial(_ask_flatten, world, account_id))


def _ask_flatten(world: "World", account_id: str) -> None:
    asyncio.get_running_loop().create_task(world.operator.flatten(account_id))


_STRIKES: Final[dict[str, Callable[["World", Trouble], None]]] = {
    "line_drop": _line_drop,
    "half_open": _half_open,
    "deafen boss": _deafen_boss,
    "maintenance": _maintenance,
    "halt": _halt,
    "human": _human,
    "liquidation": _liquidation,
    "crash": _crash,
    "hand_over": _hand_over,
    "pause": _pause,
    "database": _database,
    "flatten": _flatten,
}
