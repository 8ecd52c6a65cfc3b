"""What the simulation found of processes that take over: each as the smallest world in which it happened."""

from dataclasses import replace

import pytest

from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from tests.faults import rude_broker
from tests.faults.directed import WORLDS, small
from tests.faults.gateways import Disk, Gateway
from tests.faults.house import BOSS, EA_LEADER
from tests.faults.memory_wire import Connection, OnDown
from tests.faults.rude_broker import WORLD, Event, Line, RudeBroker
from tests.faults.rude_snapshot import Shot, shot_of
from tests.faults.rude_words import Read
from tests.faults.runs import hush
from tests.faults.swarm import Act, Plan, Trouble, make_plan
from tests.faults.test_regressions import broken
from tests.faults.world import World, run_plan

#: seconds; longer than a lease and its grace
STUNNED_S = 8.0
#: the successor has logged in and read everything by then
FIRST_READS_NS = 11 * 10**9
#: the database is out of reach by then
FROM_NS = 3 * 10**9


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


#: the leader leaves while the database is out of reach; the exits go by a file on a disk that ends with its process
_LOST = WORLDS["exits that a lost exit file held"]


@pytest.mark.parametrize("missing", ["", "positions", "orders", "executions"])
def test_what_exits_of_a_lost_file_closed_is_not_closed_again(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """I-09, R-012, R-073: the successor's journal held the entries only, and the leader's account was flat. Its exits
    left although the first read showed that nothing was held any more, and turned every follower; with a whole read,
    and with one of its lists missing."""
    hush()

    def shot(broker: RudeBroker, request: Read, shot: Shot) -> AccountSnapshot:
        is_early = request.account_id != BOSS and broker.now_ns < until_ns
        return shot_of(broker, request, replace(shot, partial=missing) if is_early else shot)

    until_ns = 0

    def begin(world: World) -> None:
        nonlocal until_ns
        until_ns = world.brokers[0].now_ns + FIRST_READS_NS

    monkeypatch.setattr(rude_broker, "shot_of", shot)
    outcome = run_plan(_LOST, sabotage=begin)
    assert broken(outcome) == []
    assert outcome.placements == 3 * 2
    assert outcome.quiet_s < 60


def test_a_cancel_on_its_way_does_not_hide_what_the_first_read_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-09, R-012: the followers could be read only after the leader's exit was planned, which cancels a target first.
    Because of that cancel their positions were not compared. The leader turned before the second read: the entry was
    counted against contracts that were gone."""
    hush()
    read, until_ns = RudeBroker._read, 0

    def failing(self: RudeBroker, line: Line, request: Read) -> None:
        if request.account_id != BOSS and FROM_NS < self.now_ns - until_ns + FIRST_READS_NS < FIRST_READS_NS:
            self._speak(line, lambda: line.ear.read(request, None))
            return
        read(self, line, request)

    def begin(world: World) -> None:
        nonlocal until_ns
        until_ns = world.brokers[0].now_ns + FIRST_READS_NS

    monkeypatch.setattr(RudeBroker, "_read", failing)
    acts = (_LOST.acts[0], Act(0.8, "boss_rest", "ES", -1, 0.95), *_LOST.acts[1:])
    outcome = run_plan(replace(_LOST, acts=acts), sabotage=begin)
    assert broken(outcome) == []
    assert (
        outcome.placements == 3 * 3
    )  # entry, target, exit; none for what the leader does before the second read


def test_executions_that_the_first_read_tells_do_not_hide_what_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-09, R-004, R-012: a fill in another contract was heard by nobody. Taking it in counted as activity, so that the
    positions of the very same read were not compared."""
    hush()
    stream = RudeBroker._stream

    def unheard(self: RudeBroker, event: Event) -> None:
        is_fill = isinstance(event, ExecutionReport) and event.exec_type == "trade"
        if not (is_fill and event.symbol.startswith("NQ") and event.account_id != BOSS):
            stream(self, event)

    monkeypatch.setattr(RudeBroker, "_stream", unheard)
    acts = (Act(0.3, "boss", "NQ", 1), *_LOST.acts)
    closed = (Trouble(3.0, "maintenance", 11.0, 0.0), Trouble(3.0, "maintenance", 11.0, 0.9))
    outcome = run_plan(replace(_LOST, acts=acts, troubles=(*_LOST.troubles, *closed)))
    assert broken(outcome) == []
    assert outcome.placements == 3 * 4


def test_a_lost_close_of_a_known_list_is_counted_again() -> None:
    """I-09, R-077: a close that followed a lost exit ended with the disk, and targets filled on top of it. What was too
    much then was nobody's, and nobody closed it; the whole seed, because it takes all of that."""
    hush()
    assert broken(run_plan(make_plan(5486))) == []


def test_a_journal_that_was_away_keeps_the_order_of_the_book() -> None:
    """I-12: a held close was proved unsent, then dropped by way of the exit file, which was journalled first: read
    again, the close was still held. The whole seed; the order itself: tests/unit/gateway/test_log_order.py."""
    hush()
    assert broken(run_plan(make_plan(5856))) == []
