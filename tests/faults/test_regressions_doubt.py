"""What the simulation found of orders in doubt: each as the smallest world in which it happened."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.faults.directed import small
from tests.faults.house import BOSS_LEADER, EA_LEADER
from tests.faults.rude_broker import Line, RudeBroker
from tests.faults.rude_words import Place, Request
from tests.faults.runs import hush
from tests.faults.swarm import Act, Trouble
from tests.faults.test_regressions import broken
from tests.faults.world import World, run_plan


def lose_one(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """One placement of each account never arrives: its first, its second, .."""
    receive, seen = RudeBroker.receive, Counter[str]()

    def losing(self: RudeBroker, line: Line, request: Request) -> None:
        seen[request.account_id] += isinstance(request, Place)
        if isinstance(request, Place) and seen[request.account_id] == number:
            self.judge.left(self, request, line.ear.process)
            self.count("lost request", request.cl_ord_id)
            return
        receive(self, line, request)

    monkeypatch.setattr(RudeBroker, "receive", losing)


def _prove_nothing(world: World) -> None:
    for broker in world.brokers:
        broker.capabilities = replace(broker.capabilities, proves_absence=False)


@pytest.mark.parametrize("exit_s", [1.4, 9.0])
def test_what_is_held_is_closed_without_an_entry_in_doubt(
    monkeypatch: pytest.MonkeyPatch, exit_s: float
) -> None:
    """I-09, R-013, R-037: the buy that nobody could find was netted against the short that was really held, so the
    leader's exit closed nothing; before the doubt is known, and after."""
    hush()
    lose_one(monkeypatch, 1)
    acts = (Act(1.0, "trade", "ES", 1), Act(1.2, "trade", "ES", -2), Act(exit_s, "exit", "ES"))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=10.0), sabotage=_prove_nothing)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
    assert outcome.placements == 6


def test_an_exit_that_another_stands_in_for_holds_up_no_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-09, R-012, R-064: the second try of a refused exit was lost and replaced. The ladder waited for it for ever,
    and while it waited nobody else closed what was too much."""
    hush()
    lose_one(monkeypatch, 3)
    worlds: list[World] = []

    def spoil(world: World) -> None:
        _prove_nothing(world)
        worlds.append(world)

    acts = (Act(0.5, "trade", "ES", 2), Act(1.5, "exit", "ES"))
    plan = small(EA_LEADER, acts, (Trouble(1.0, "halt", 2.5),), chaos_s=30.0)
    outcome = run_plan(plan, sabotage=spoil)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
    machine = worlds[0].machine
    assert machine is not None
    assert not machine.state.book.pending_exits


@pytest.mark.parametrize("exit_s", [3.0, 12.0])
def test_an_exit_in_doubt_is_no_part_of_a_close_on_the_other_side(
    monkeypatch: pytest.MonkeyPatch, exit_s: float
) -> None:
    """I-09, R-012: the leader's exit was lost, then it turned. The lost sell counted against the close of the short, so
    that its next exit closed nothing; before the reads that cannot find it, and after."""
    hush()
    lose_one(monkeypatch, 2)
    acts = (
        Act(0.5, "trade", "ES", 1),
        Act(1.5, "exit", "ES"),
        Act(2.0, "trade", "ES", -2),
        Act(exit_s, "exit", "ES"),
    )
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=14.0), sabotage=_prove_nothing)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
    assert outcome.placements == 9  # in, turned, out at three followers: nobody closes twice


def test_an_exit_that_nobody_found_closes_nothing_of_what_is_opened_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-09, R-012: with nothing left to close it stood in the book for ever, and counted against the next holding."""
    hush()
    lose_one(monkeypatch, 2)
    acts = (
        Act(0.5, "trade", "ES", 1),
        Act(1.5, "exit", "ES"),
        Act(2.0, "trade", "ES", -2),
        Act(12.0, "trade", "ES", 4),
        Act(60.0, "exit", "ES"),
    )
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=61.0), sabotage=_prove_nothing)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
    assert not [line for line in outcome.trace if "done" in line and "-g" in line]


def test_a_target_that_waits_for_an_entry_in_doubt_goes_with_the_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-03, R-037: the mirror of the leader's own target was held for ever, because nothing was held to be closed."""
    hush()
    lose_one(monkeypatch, 1)
    acts = (Act(1.0, "boss", "ES", 2), Act(6.0, "boss_rest", "ES", -1, 0.95))
    outcome = run_plan(small(BOSS_LEADER, acts, chaos_s=9.0), sabotage=_prove_nothing)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
