"""What the simulation found of orders in doubt: each as the smallest world in which it happened."""

from dataclasses import replace

import pytest

from tests.faults.house import EA_LEADER
from tests.faults.rude_broker import Line, RudeBroker
from tests.faults.rude_words import Place, Request
from tests.faults.runs import hush
from tests.faults.swarm import Act
from tests.faults.test_regressions import broken, small
from tests.faults.world import World, run_plan


def lose_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first placement of each account never arrives."""
    receive, lost = RudeBroker.receive, set[str]()

    def losing(self: RudeBroker, line: Line, request: Request) -> None:
        if isinstance(request, Place) and request.account_id not in lost:
            lost.add(request.account_id)
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
    lose_first(monkeypatch)
    acts = (Act(1.0, "trade", "ES", 1), Act(1.2, "trade", "ES", -2), Act(exit_s, "exit", "ES"))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=10.0), sabotage=_prove_nothing)
    assert outcome.faults["lost request"] == 3
    assert broken(outcome) == []
    assert outcome.placements == 6
