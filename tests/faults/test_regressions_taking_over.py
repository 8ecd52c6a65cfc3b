"""What the simulation found of processes that take over: each as the smallest world in which it happened."""

from tests.faults.gateways import Disk, Gateway
from tests.faults.house import EA_LEADER
from tests.faults.memory_wire import Connection, OnDown
from tests.faults.rude_broker import WORLD
from tests.faults.runs import hush
from tests.faults.swarm import Act, Trouble
from tests.faults.test_regressions import broken, small
from tests.faults.world import World, run_plan

#: seconds; longer than a lease and its grace
STUNNED_S = 8.0


def _stun_the_second(world: World) -> None:
    """The second process is paused as it connects to the journal, which is the first thing after it took the lease."""
    start = world.start_gateway

    def begin(disk: Disk | None = None) -> Gateway:
        gateway = start(disk)
        if gateway.name == "g2":
            _stun(world, gateway)
        return gateway

    world.start_gateway = begin


def _stun(world: World, gateway: Gateway) -> None:
    connect = gateway.wire.connect

    def stunned(name: str, on_down: OnDown) -> Connection:
        if name == "pool":
            return connect(name, on_down)
        gateway.wire.connect = connect
        world.count("pause", gateway.name)
        gateway.process.paused = True
        world.loop.call_later(STUNNED_S, world.loop.go_on, gateway.process, context=WORLD.context)
        return connect(name, on_down)

    gateway.wire.connect = stunned


def test_a_lease_that_ends_before_anybody_listens_is_not_kept() -> None:
    """I-09, R-083: the process was paused between taking the lease and opening the journal; it then served for ever
    without the right to write, and no exit left any more."""
    hush()
    acts = (Act(0.5, "trade", "ES", 2), Act(14.0, "exit", "ES", 1))
    plan = small(EA_LEADER, acts, (Trouble(1.5, "crash"),), chaos_s=15.0)
    outcome = run_plan(plan, sabotage=_stun_the_second)
    assert outcome.faults["pause"] == 1
    assert broken(outcome) == []
    assert outcome.placements == 6
