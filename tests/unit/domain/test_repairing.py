"""The repair of drift: exact orders, by policy, in all limits; applied twice it changes nothing (R-043 to R-046)."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.book import Position
from kopitra.domain.fold import fold
from kopitra.domain.journal import DriftNoted, EntriesBlocked, RepairPlanned
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import ZERO
from kopitra.domain.repairing import Wish
from kopitra.domain.risk import check_entry
from tests.unit.domain.copy_world import ESZ6, World, account, d, rule
from tests.unit.domain.drift_world import by_hand, compared, kinds, note, planned, repair

TOP_UP = Wish("top_up")


def _missed(**fields: object) -> World:
    """The leader is long two, the follower's entry was rejected."""
    world = World([rule(**fields)])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.end(world.child(), "rejected")
    return world


def _excess(**fields: object) -> World:
    """The leader has one of three left; the follower's closes were rejected."""
    world = World([rule(**fields)])
    world.say("enter", side="buy", quantity=d(3), leader_position=d(3))
    world.settle()
    world.say("reduce", quantity=d(2), leader_position=d(1))
    for _ in range(2):
        world.end(world.child("exit"), "rejected")
    return world


def _orphan(**fields: object) -> World:
    world = World([rule(**fields)])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.settle()
    world.say("exit", leader_position=ZERO)
    for _ in range(2):
        world.end(world.child("exit"), "rejected")
    return world


def verdicts(world: World, wish: Wish | None = None) -> list[tuple[str, str, str, Decimal | None]]:
    """(kind, verdict, reason, ordered quantity) of each step."""
    plan = planned(world, wish) if wish is not None else planned(world)
    return [
        (s.drift.kind, s.verdict, s.reason, s.approved.intent.qty if s.approved is not None else None)
        for s in plan.steps
    ]


def test_r043_what_is_too_much_is_reduced_to_the_target() -> None:
    world = _excess()
    assert verdicts(world) == [("excess", "approved", "", d(2))]
    repair(world, planned(world))
    world.settle()
    assert (world.held(), compared(world).drifts) == (d(1), ())


def test_r043_an_orphan_is_closed() -> None:
    world = _orphan()
    repair(world, planned(world))
    world.settle()
    assert (world.held(), world.ledger["a1", ESZ6], compared(world)) == (ZERO, ZERO, ((), (), ()))


def test_r043_what_was_missed_is_never_opened_late_by_default() -> None:
    assert verdicts(_missed()) == [("missed_open", "left", "late_open", None)]
    assert verdicts(_missed(repair="flatten")) == [("missed_open", "left", "late_open", None)]


def test_top_up_opens_what_was_missed_and_keeps_it() -> None:
    world = _missed(repair="top_up")
    assert verdicts(world) == [("missed_open", "approved", "", d(2))]
    repair(world, planned(world))
    world.settle()
    assert (world.held(), compared(world).drifts) == (d(2), ())
    world.say("exit", leader_position=ZERO)
    world.settle()
    assert world.held() == 0


def test_top_up_gives_a_follower_that_missed_the_first_entry_the_scale_it_would_have_had() -> None:
    world = World([rule(repair="top_up")])
    world.accounts["a1"] = account(session_live=False)
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    assert verdicts(world) == [("missed_open", "refused", "session_down", None)]
    world.accounts["a1"] = account()
    repair(world, planned(world))
    world.settle()
    assert (world.held(), compared(world).drifts) == (d(2), ())
    world.say("add", side="buy", quantity=d(1), leader_position=d(3))
    world.settle()
    assert world.held() == 3


def test_a_top_up_is_cut_to_the_rules_own_size() -> None:
    world = _missed(repair="top_up", max_order=d(1))
    assert verdicts(world) == [("missed_open", "approved", "", d(1))]


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"switch": "reducing"}, "kill_switch"),
        ({"in_hours": False}, "outside_hours"),
        ({"limits": RiskLimits(max_position_qty=d(1))}, "max_position_qty"),
        ({"limits": RiskLimits(max_order_qty=d(1))}, "max_order_qty"),
    ],
)
def test_r046_a_repair_that_opens_passes_every_limit_and_says_which_one_is_against_it(
    changes: dict[str, object], reason: str
) -> None:
    world = _missed(repair="top_up")
    world.accounts["a1"] = account(**changes)
    assert verdicts(world) == [("missed_open", "refused", reason, None)]
    step = planned(world).steps[0]
    assert step.detail
    assert step.checks is not None


def test_r046_a_preview_says_what_each_rule_says_whether_it_approves_or_not() -> None:
    """Every rule that is against it, not the first only; of an approved order what was looked at; the price's age."""
    limits = RiskLimits(max_order_qty=d(1), max_position_qty=d(1))
    world = _missed(repair="top_up")
    world.accounts["a1"] = account(limits=limits, switch="reducing")
    said = {rule.rule: rule for rule in planned(world).steps[0].said}
    assert [r for r in said if said[r].verdict == "refuses"] == [
        "kill_switch",
        "max_order_qty",
        "max_position_qty",
    ]
    assert "2 contracts, at most 1" in said["max_order_qty"].detail

    world.accounts["a1"] = account(limits=RiskLimits(max_order_qty=d(5)))
    step = planned(world, price_ages_ms={"ES": 61_000}).steps[0]
    passed = {rule.rule: rule.detail for rule in step.said}
    assert (step.verdict, step.price_age_ms, passed["max_order_qty"]) == (
        "approved",
        61_000,
        "2 contracts, at most 5",
    )
    assert {rule.verdict for rule in step.said} == {"passes"}

    world.rules = [rule(repair="top_up", pace="close_only")]
    assert [r.rule for r in planned(world).steps[0].said if r.verdict == "refuses"] == ["close_only"]

    world = _excess()
    assert {rule.verdict for rule in planned(world).steps[0].said} == {"passes"}
    world.accounts["a1"] = account(switch="halted", session_live=False)
    step = planned(world).steps[0]
    assert (step.reason, [r.verdict for r in step.said]) == ("kill_switch", ["refuses", "refuses"])


@pytest.mark.parametrize("pace", ["close_only", "paused"])
def test_r046_a_rule_that_takes_no_entries_takes_no_top_up_either(pace: str) -> None:
    world = _missed()
    world.rules = [rule(repair="top_up", pace=pace)]
    assert verdicts(world) == [("missed_open", "refused", pace, None)]


def test_r046_the_decision_of_each_order_evaluates_to_the_same_answer_again() -> None:
    world = _missed(repair="top_up")
    approved = planned(world).steps[0].approved
    assert approved is not None
    assert approved.checks is not None
    limits = world.accounts["a1"].limits
    assert check_entry(approved.intent, approved.checks, limits) == approved


def test_the_policy_flatten_closes_the_followers_whole_copy() -> None:
    world = _excess(repair="flatten")
    assert verdicts(world) == [("excess", "approved", "", d(3))]
    repair(world, planned(world))
    world.settle()
    assert world.held() == 0
    assert verdicts(world) == [("missed_open", "left", "late_open", None)]


def test_ignore_until_flat_waits_for_the_leader() -> None:
    assert verdicts(_excess(repair="ignore_until_flat")) == [("excess", "left", "waits_until_flat", None)]
    assert verdicts(_orphan(repair="ignore_until_flat")) == [("orphan", "approved", "", d(2))]


def test_a_person_may_ask_for_another_policy() -> None:
    assert verdicts(_excess(repair="ignore_until_flat"), Wish("reduce")) == [("excess", "approved", "", d(2))]


def test_a_halt_lets_no_repair_out() -> None:
    world = _excess()
    world.accounts["a1"] = account(switch="halted")
    assert verdicts(world) == [("excess", "refused", "kill_switch", None)]


def test_what_is_not_ours_gets_no_order() -> None:
    world = World([rule()])
    by_hand(world, "buy", d(3), heard=False)
    assert verdicts(world, TOP_UP) == [("external", "left", "not_ours", None)]
    assert planned(world, TOP_UP).intents == ()


def test_what_is_too_much_is_closed_before_anything_is_opened() -> None:
    world = _missed(repair="top_up")
    world.ledger["a1", ESZ6] = d(-1)
    world.book.holdings["a1", "L"] = {ESZ6: Position(d(-1), d(-5000))}
    assert verdicts(world) == [
        ("opposite", "approved", "", d(1)),
        ("missed_open", "left", "reduce_first", None),
    ]


# closed by hand --------------------------------------------------------------------------------------------------


def _closed_by_hand() -> World:
    world = World([rule(repair="top_up")])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.settle()
    by_hand(world, "sell", d(2))
    return world


def test_what_a_person_closed_is_left_out_unless_asked_for() -> None:
    world = _closed_by_hand()
    assert verdicts(world) == [("closed_by_hand", "left", "closed_by_hand", None)]
    assert verdicts(world, Wish(None, True)) == [("closed_by_hand", "approved", "", d(2))]


def test_asked_for_it_is_opened_again_and_wanted_from_then_on() -> None:
    world = _closed_by_hand()
    repair(world, planned(world, Wish(None, True)), "ann")
    world.settle()
    assert (world.held(), compared(world)) == (d(2), ((), (), ()))


def test_only_what_the_leader_still_has_is_opened_again() -> None:
    world = _closed_by_hand()
    world.say("reduce", quantity=d(1), leader_position=d(1))
    assert verdicts(world, Wish(None, True)) == [("closed_by_hand", "approved", "", d(1))]
    world.say("exit", leader_position=ZERO)
    assert verdicts(world, Wish(None, True)) == []


def test_what_was_closed_just_now_waits_for_the_second_read() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.settle()
    by_hand(world, "sell", d(2), heard=False)
    assert verdicts(world, Wish(None, True)) == [("closed_by_hand", "left", "just_closed", None)]


# plans -----------------------------------------------------------------------------------------------------------


def test_the_same_world_gives_the_same_plan_whatever_the_time() -> None:
    world = _excess()
    first = planned(world)
    world.now += timedelta(seconds=30)
    world.prices["ES"] = d(5010)
    again = planned(world)
    assert again.plan_id == first.plan_id
    assert [i.cl_ord_id for i in again.intents] == [i.cl_ord_id for i in first.intents]
    assert (again.steps[0].price_low, again.steps[0].price_high) == (d(5005), d(5015))


def test_another_world_gives_another_plan() -> None:
    world = _excess()
    seen = {planned(world).plan_id, planned(world, Wish("flatten")).plan_id}
    world.accounts["a1"] = account(switch="halted")
    seen.add(planned(world).plan_id)
    world.accounts["a1"] = account()
    by_hand(world, "buy", d(1), heard=False)
    seen.add(planned(world).plan_id)
    assert len(seen) == 4


def test_r046_applied_twice_it_changes_nothing() -> None:
    world = _excess()
    plan = planned(world)
    repair(world, plan)
    before = len(world.book.orders)
    fold(world.book, RepairPlanned(plan, "gateway"))
    assert len(world.book.orders) == before
    assert world.book.sync.repairs["a1", ESZ6].count == 1


def test_a_second_attempt_has_names_of_its_own() -> None:
    world = _excess()
    first = planned(world)
    repair(world, first)
    world.end(world.child("exit"), "rejected")
    second = planned(world)
    assert kinds(compared(world)) == [("excess", d(-2))]
    assert second.plan_id != first.plan_id
    repair(world, second)


def test_r045_three_attempts_within_ten_minutes_are_all() -> None:
    world = _excess()
    for _ in range(3):
        assert world.book.sync.may_repair("a1", ESZ6, world.now)
        repair(world, planned(world))
        world.end(world.child("exit"), "rejected")
        world.now += timedelta(minutes=1)
    assert not world.book.sync.may_repair("a1", ESZ6, world.now)
    assert world.book.sync.may_repair("a1", ESZ6, world.now + timedelta(minutes=10))
    assert not world.refolded().sync.may_repair("a1", ESZ6, world.now)


def test_a_person_who_lifts_or_repairs_lets_the_gateway_begin_anew() -> None:
    for lifts in (True, False):
        world = _excess()
        for _ in range(3):
            repair(world, planned(world))
            world.end(world.child("exit"), "rejected")
        world.note(DriftNoted("dr1", compared(world).drifts[0], "parked", "tired"))
        assert world.book.sync.parked == {("a1", ESZ6): "tired"}
        if lifts:
            world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
        else:
            repair(world, planned(world), "ann")
        assert world.book.sync.parked == {}
        assert world.book.sync.may_repair("a1", ESZ6, world.now)


def test_a_block_of_one_contract_refuses_entries_there_only_and_can_be_lifted() -> None:
    world = World([rule()])
    world.note(EntriesBlocked("a1", "something foreign", ESZ6))
    assert world.leg("enter", side="buy", quantity=d(1), leader_position=d(1)).reason == "entries_blocked"
    assert world.leg("enter", side="buy", quantity=d(1), symbol="NQ").outcome == "approved"
    world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert world.leg("enter", side="buy", quantity=d(2), leader_position=d(3)).outcome == "approved"


def test_drift_and_repairs_read_back_from_the_journal() -> None:
    world = _orphan()
    note(world, *compared(world).drifts)
    repair(world, planned(world))
    world.settle()
    again = world.refolded()
    assert again.sync == world.book.sync
    assert again.sync.drifts


@given(
    leader=st.integers(0, 6),
    held=st.integers(-6, 6),
    hand=st.integers(-4, 4),
    policy=st.sampled_from(["reduce", "top_up", "flatten", "ignore_until_flat"]),
)
@settings(max_examples=200, deadline=None)
def test_r043_no_repair_ever_leads_beyond_its_target(leader: int, held: int, hand: int, policy: str) -> None:
    """Whatever is held and whoever traded: after the repair less is off, on no new side, and a second one is quiet."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(6), leader_position=d(6))
    world.settle()
    if leader < 6:
        world.say("reduce", quantity=d(6 - leader), leader_position=d(leader))
        world.settle()
    world.book.holdings["a1", "L"][ESZ6].qty = d(held)
    world.ledger["a1", ESZ6] = d(held + hand)
    note(world, *(x for x in compared(world).drifts if x.kind == "closed_by_hand"))
    wish = Wish(policy)  # pyright: ignore[reportArgumentType]
    ours, foreign = world.held(), world.ledger["a1", ESZ6] - world.held()
    closed = world.book.sync.by_hand.get(("L", "a1", "ES"), ZERO)
    repair(world, planned(world, wish))
    world.settle()
    assert world.held() == _expected(policy, ours, d(leader), closed)
    assert world.ledger["a1", ESZ6] - world.held() == foreign
    for _ in range(2):  # what was reduced first may be opened now; then nothing is left to do
        repair(world, planned(world, wish))
        world.settle()
    assert planned(world, wish).intents == ()


def _expected(policy: str, ours: Decimal, leader: Decimal, closed: Decimal) -> Decimal:
    """The naive model: what should be held after one repair."""
    if 0 <= ours <= leader:
        return max(ours, leader - closed) if policy == "top_up" else ours
    match policy:
        case "flatten":
            return ZERO
        case "ignore_until_flat":
            return ours if leader else ZERO
        case _:
            return leader if ours > 0 else ZERO
