"""What the simulation found of processes that take over: each as the smallest world in which it happened."""

from dataclasses import replace

from tests.faults.directed import small
from tests.faults.gateways import Disk, Gateway
from tests.faults.house import EA_LEADER
from tests.faults.memory_wire import Connection, OnDown
from tests.faults.rude_broker import WORLD
from tests.faults.runs import hush
from tests.faults.swarm import Act, Plan, Trouble
from tests.faults.test_regressions import broken
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


def _without_brackets(world: World) -> None:
    for broker in world.brokers:
        broker.capabilities = replace(broker.capabilities, brackets=False)


def _cut_off() -> Plan:
    """The entries fill while the database is away, so their stops leave by the exit file of a process that ends; its
    successor has another disk, and the brokers are closed until after the leader's exit."""
    acts = (Act(1.0, "bracket", "ES", 2, 0.89), Act(9.0, "exit", "ES"))
    troubles = (
        Trouble(1.1, "database", 8.0, 0.65),
        Trouble(2.0, "hand_over"),
        Trouble(3.0, "maintenance", 8.0, 0.0),
        Trouble(3.0, "maintenance", 8.0, 0.9),
    )
    base = small(EA_LEADER, acts, troubles, chaos_s=13.0)
    return replace(base, manners=tuple(replace(m, fill_delay_ms=300) for m in base.manners))


def test_stops_that_left_by_a_lost_exit_file_are_not_thought_unsent() -> None:
    """R-002, I-03, R-072: for the successor they were held, so the leader's exit dropped them, and they worked on."""
    hush()
    outcome = run_plan(_cut_off(), sabotage=_without_brackets)
    assert broken(outcome) == []
    assert outcome.placements == 3 * 4  # entry, stop, target, close


def test_held_stops_go_on_waiting_when_a_read_shows_that_they_never_left() -> None:
    """R-002, R-018: killed while the entries rest; each protective order leaves once, when its entry fills."""
    hush()
    acts = (Act(1.0, "bracket", "ES", 2, 0.89),)
    base = small(EA_LEADER, acts, (Trouble(1.05, "crash"),), chaos_s=12.0)
    plan = replace(base, manners=tuple(replace(m, fill_delay_ms=8_000) for m in base.manners))
    outcome = run_plan(plan, sabotage=_without_brackets)
    assert broken(outcome) == []
    assert outcome.placements == 3 * 4
