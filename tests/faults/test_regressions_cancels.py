"""Cancels and doubts that the simulation found somebody to have counted on, each as the smallest world of it."""

from collections.abc import Callable
from dataclasses import replace

from tests.faults.directed import small
from tests.faults.house import BOSS, EA_LEADER
from tests.faults.rude_broker import WORLD, Line
from tests.faults.runs import hush
from tests.faults.swarm import Act, Trouble
from tests.faults.test_regressions import broken
from tests.faults.world import World, run_plan


def _deaf(from_s: float, until_s: float, *, falls: bool = False) -> Callable[[World], None]:
    """Nothing of the followers gets through between two times; then all is well again, or the lines fall."""
    made: list[Line] = []

    def sabotage(world: World) -> None:
        def begin() -> None:
            made.extend(
                line for b in world.brokers for line in b.all_lines() if BOSS not in line.ear.login_id
            )
            for line in made:
                line.deaf = True

        def end() -> None:
            for line in made:
                line.deaf = False
                if falls:
                    next(b for b in world.brokers if line.ear.login_id in b.lines).hang_up(
                        line, "no heartbeat"
                    )

        world.loop.call_later(from_s, begin, context=WORLD.context)
        world.loop.call_later(until_s, end, context=WORLD.context)

    return sabotage


def _not_the_last_word(world: World) -> None:
    for broker in world.brokers:
        broker.capabilities = replace(broker.capabilities, proves_absence=False)


def test_an_order_whose_cancels_were_all_lost_is_canceled_once_it_is_read_again() -> None:
    """I-03: the line was half open for longer than four cancels take, and then nobody asked any more."""
    hush()
    acts = (Act(0.5, "rest", "ES", 2, 0.5), Act(2.0, "exit", "ES"))
    outcome = run_plan(small(EA_LEADER, acts), sabotage=_deaf(2.0, 14.0, falls=True))
    assert broken(outcome) == []
    assert outcome.placements == 3
    assert outcome.quiet_s < 30


def test_a_cancel_whose_answer_died_with_its_process_is_sent_again() -> None:
    """I-03, R-018: the successor waited for an answer that nobody would ever hear."""
    hush()
    acts = (Act(0.5, "rest", "ES", 2, 0.5), Act(2.0, "exit", "ES"))
    plan = small(EA_LEADER, acts, (Trouble(2.3, "crash"),))
    outcome = run_plan(plan, sabotage=_deaf(2.0, 2.4))
    assert broken(outcome) == []
    assert outcome.placements == 3
    assert outcome.quiet_s < 30


def test_a_lost_cancel_does_not_close_what_the_leader_holds() -> None:
    """I-09: the order that was to go was counted on, so that the position seemed to be too much and was closed."""
    hush()
    acts = (
        Act(0.5, "trade", "ES", 1),
        Act(1.0, "rest", "ES", 2, 0.5),
        Act(2.0, "cancel", "ES"),
        Act(8.0, "exit", "ES"),
    )
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=9.0), sabotage=_deaf(2.04, 2.2))
    assert broken(outcome) == []
    closed = [float(line.split()[0]) for line in outcome.trace if " fill " in line and " sell " in line]
    assert len(closed) == 3
    assert min(closed) > 8.0


def test_an_entry_in_doubt_stands_in_for_no_close() -> None:
    """I-09, R-012: the leader left, and what was held seemed to be closed by an entry of which nobody knew anything."""
    hush()
    deaf = _deaf(1.04, 1.3)

    def sabotage(world: World) -> None:
        deaf(world)
        _not_the_last_word(world)

    acts = (Act(1.0, "trade", "ES", -2), Act(1.5, "trade", "ES", 4), Act(8.0, "exit", "ES"))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=9.0), sabotage=sabotage)
    assert broken(outcome) == []
    assert outcome.quiet_s < 30


def test_what_a_close_counted_on_is_closed_when_it_falls_in_doubt() -> None:
    """I-09: the leader was out before anybody knew that the entry was in doubt; nothing happened afterwards."""
    hush()
    deaf = _deaf(1.04, 1.3)

    def sabotage(world: World) -> None:
        deaf(world)
        _not_the_last_word(world)

    acts = (Act(1.0, "trade", "ES", -2), Act(1.5, "trade", "ES", 4), Act(2.0, "exit", "ES"))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=9.0), sabotage=sabotage)
    assert broken(outcome) == []
    assert outcome.quiet_s < 30


def _late(world: World) -> None:
    rules = {
        name: tuple(replace(rule, delay_ms=200) for rule in of) for name, of in world.config.rules.items()
    }
    world.reconfigure(replace(world.config, rules=rules))


def test_an_entry_of_a_stretch_that_is_over_stays_here() -> None:
    """I-10: in, out and in again within the delay; the first entry left, for a position that was over."""
    hush()
    acts = (Act(1.0, "trade", "ES", 1), Act(1.05, "trade", "ES", -1), Act(1.1, "trade", "ES", 1))
    outcome = run_plan(small(EA_LEADER, acts), sabotage=_late)
    assert broken(outcome) == []
    assert outcome.placements == 6
