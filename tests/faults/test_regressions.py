"""What the simulation found, each as the smallest world in which it happened. A name per defect, for ever."""

from dataclasses import replace

from tests.faults.directed import small
from tests.faults.house import BOSS_LEADER, EA_LEADER
from tests.faults.outcome import Outcome
from tests.faults.runs import hush
from tests.faults.swarm import Act, Trouble, make_plan
from tests.faults.world import World, run_plan


def broken(outcome: Outcome) -> list[str]:
    return [str(violation) for violation in outcome.violations]


def _late_followers(world: World) -> None:
    rules = {
        leader: tuple(replace(rule, delay_ms=200) for rule in rules)
        for leader, rules in world.config.rules.items()
    }
    world.reconfigure(replace(world.config, rules=rules))


def test_an_entry_that_waits_out_its_delay_does_not_open_behind_the_leaders_close() -> None:
    """I-10: the leader was in for 0.1 s, the follower's delay was 0.2 s; the entry left after the close."""
    hush()
    plan = small(EA_LEADER, (Act(1.0, "trade", "ES", 2), Act(1.1, "trade", "ES", -2)))
    outcome = run_plan(plan, sabotage=_late_followers)
    assert broken(outcome) == []
    assert outcome.placements == 0


def test_a_leaders_resting_order_is_followed_across_a_hand_over() -> None:
    """I-03, I-09: the new process had forgotten the order, so its end was copied to nobody."""
    hush()
    acts = (Act(0.5, "boss_rest", "NQ", -2, 0.9), Act(3.0, "boss_cancel", "NQ", 1, 0.0))
    outcome = run_plan(small(BOSS_LEADER, acts, (Trouble(1.5, "hand_over", 0.0, 0.1),)))
    assert broken(outcome) == []
    assert outcome.placements == 3
    assert outcome.quiet_s <= 2


def test_a_leaders_cancel_that_the_line_lost_is_read_from_its_orders() -> None:
    """I-03: the leader took its order back while its line was half open."""
    hush()
    acts = (Act(0.5, "boss_rest", "NQ", -2, 0.9), Act(1.0, "boss_cancel", "NQ", 1, 0.0))
    outcome = run_plan(small(BOSS_LEADER, acts, (Trouble(0.8, "deafen boss"),), chaos_s=20.0))
    assert broken(outcome) == []
    assert outcome.placements == 3


def test_a_stop_that_was_set_as_the_database_went_away_outlives_the_process() -> None:
    """I-06: the commit of the switch was unclear, the lease ran out, the successor on the same disk knew of nothing."""
    hush()
    acts = (Act(1.2, "switch", "ES", 1, 0.0), Act(12.0, "trade", "ES", 1))
    outcome = run_plan(small(EA_LEADER, acts, (Trouble(1.0, "database", 5.5, 0.45),), chaos_s=13.0))
    assert broken(outcome) == []
    assert outcome.placements == 0


def test_a_reversals_entry_waits_while_another_entry_is_in_doubt() -> None:
    """I-13: the doubt came between the plan and the write."""
    hush()
    outcome = run_plan(make_plan(13, frozenset({"lost_request"})))
    assert broken(outcome) == []


def test_what_closes_as_it_fills_is_not_missing_from_the_target_too() -> None:
    """I-09, R-039: the leader turned and added while the follower's first entry was on its way. Its late fill was
    closed, and counted against the target as well: the follower bought three and sold three again."""
    hush()
    acts = (
        Act(1.0, "trade", "ES", -3),
        Act(1.005, "trade", "ES", 5),
        Act(1.01, "trade", "ES", 3),
        Act(6.0, "exit", "ES"),
    )
    base = small(EA_LEADER, acts, chaos_s=7.0)
    late = tuple(replace(manners, delay_s=0.3, delay_max_s=0.3) for manners in base.manners)
    outcome = run_plan(replace(base, manners=late))
    assert broken(outcome) == []
    assert outcome.placements == 3 * 5  # three entries, the close of the first, the exit


def test_fills_of_exits_without_the_database_are_judged_once_it_is_back() -> None:
    """No I-09: the checker dropped them, as the journal did not know their orders yet, and saw the next entry on top of
    what was closed."""
    hush()
    acts = (Act(0.5, "boss", "ES", 2), Act(1.5, "boss", "ES", -2), Act(4.0, "boss", "ES", 2))
    outcome = run_plan(small(BOSS_LEADER, acts, (Trouble(1.0, "database", 1.5, 0.65),), chaos_s=8.0))
    assert broken(outcome) == []
    assert outcome.placements == 3 * 4
