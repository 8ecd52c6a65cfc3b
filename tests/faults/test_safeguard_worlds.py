"""Safeguards that swarms cannot miss, because another layer stands behind them: one small world for each (T-90).

`make ablate` runs these with the safeguard taken out, and they must fail then.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from gateway_container.engine.recovery import decode_row
from kopitra.domain.journal import Reported
from kopitra.store import append_queue
from kopitra.store.drafts import JournalRow
from tests.faults.directed import CUT_OFF, WORLDS, small
from tests.faults.gateways import SHARD
from tests.faults.house import BOSS, BOSS_LEADER, EA_LEADER
from tests.faults.outcome import Outcome
from tests.faults.rude_broker import WORLD, Line
from tests.faults.rude_manners import LAG_MAX_MS
from tests.faults.runs import hush
from tests.faults.swarm import Act
from tests.faults.test_regressions import broken
from tests.faults.world import World, run_plan


def _at(world: World, *steps: tuple[float, Callable[[], object]]) -> None:
    for at_s, act in steps:
        world.loop.call_later(at_s, act, context=WORLD.context)


def _offering(world: World, *, lag_ms: int = LAG_MAX_MS, **kinds: bool) -> None:
    """What the brokers of this world can do, and that they leave an older session alone."""
    for broker in world.brokers:
        broker.capabilities = replace(broker.capabilities, lists_lag_ms_max=lag_ms, **kinds)
        broker.displaces = False


def _written(outcome: Outcome, words: str, after_s: float = 0.0) -> Sequence[str]:
    """Orders that left a gateway from a time on."""
    left = [line for line in outcome.trace if " -> " in line and words in line]
    return [line for line in left if float(line.split()[0]) >= after_s]


def test_no_entry_leaves_while_the_predecessor_may_still_write() -> None:
    """I-11, R-073, R-085: cut off from the database, it goes on closing for its grace at a broker that cuts closes by
    itself. An entry of its successor would be what such a close takes away. (That both close is allowed, R-073.)"""
    hush()

    def sabotage(world: World) -> None:
        _offering(world, lag_ms=0, reduce_only=True)  # its lists never lag: the successor logs in at once
        _at(world, (1.95, lambda: world.gateways[0].wire.down()), (2.0, world.start_gateway))

    acts = (Act(0.5, "boss", "ES", 1), Act(5.2, "boss", "ES", 1), Act(5.5, "boss", "ES", -2))
    outcome = run_plan(small(BOSS_LEADER, acts, chaos_s=9.0), sabotage=sabotage)
    assert [text for text in broken(outcome) if text.startswith("I-11")] == []
    assert {line.split()[1] for line in _written(outcome, " sell ")} == {"g1", "g2"}  # it did go on closing


def test_a_close_that_waited_is_cut_to_what_is_held_by_then() -> None:
    """R-012, I-09: the line was down, and meanwhile the stop had filled."""
    hush()

    def sabotage(world: World) -> None:
        def begin() -> None:
            for broker in world.brokers:
                broker.down = True
                broker.restart("maintenance")

        def fall() -> None:
            world.market.middle["ES"] -= 9
            world.market._tell("ES")

        def end() -> None:
            for broker in world.brokers:
                broker.down = False

        _at(world, (1.5, begin), (2.5, fall), (5.0, end))

    acts = (Act(0.5, "bracket", "ES", 3, 0.29), Act(2.0, "trade", "ES", -1))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=12.0), sabotage=sabotage)
    assert broken(outcome) == []
    assert any(" fill " in line and line.endswith("-s") for line in outcome.trace)
    assert _written(outcome, " market ", 1.0) == []


def test_a_doubt_is_looked_up_so_that_its_contract_trades_again() -> None:
    """R-009, R-010, R-013: the request was lost; without a proof every later entry of the contract is left out."""
    hush()

    def sabotage(world: World) -> None:
        _offering(world, proves_absence=True)
        lines: list[Line] = []

        def deaf() -> None:
            lines.extend(x for b in world.brokers for x in b.all_lines() if BOSS not in x.ear.login_id)
            for line in lines:
                line.deaf = True

        def hear() -> None:
            for line in lines:
                line.deaf = False

        _at(world, (1.04, deaf), (1.2, hear))

    acts = (Act(1.0, "trade", "ES", 1), Act(20.0, "exit", "ES"), Act(21.0, "trade", "ES", 1))
    outcome = run_plan(small(EA_LEADER, acts, chaos_s=24.0), sabotage=sabotage)
    assert broken(outcome) == []
    assert len(_written(outcome, " buy ", 20.0)) == 3


def test_a_stop_that_only_the_exit_file_holds_is_in_force_in_the_next_process() -> None:
    """I-06, R-072: somebody trades again behind a stop that was confirmed while the database was away."""
    hush()
    outcome = run_plan(WORLDS["a stop that only the exit file holds"])
    assert broken(outcome) == []
    assert outcome.placements == 0
    assert _gateways(outcome) == 2


def test_exits_that_only_the_exit_file_holds_are_not_made_again() -> None:
    """I-09, R-072: the leader's account is read anew, and its followers are out already."""
    hush()
    acts = (Act(0.5, "boss", "ES", 1), Act(2.0, "boss", "ES", -1))
    outcome = run_plan(small(BOSS_LEADER, acts, CUT_OFF, chaos_s=12.0))
    assert broken(outcome) == []
    assert {line.split()[1] for line in _written(outcome, " sell ")} == {"g1"}
    assert outcome.placements == 6
    assert _gateways(outcome) == 2


def test_a_late_fill_is_closed_although_the_process_died_before_it_could(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R-018, R-022, I-09: the leader is out; one commit was full with the fill of an entry, and the next one, with its
    close, never came. Nothing that the brokers tell the successor is news, and no order of ours is open."""
    hush()
    monkeypatch.setattr(append_queue, "BATCH_ROWS_MAX", 1)

    def sabotage(world: World) -> None:
        def look(_step: int) -> None:
            rows = world.store.tables.journal.get(SHARD, [])
            if rows and _is_fill(rows[-1]):
                world.loop.before_step = None
                world.loop.call_soon(die, context=WORLD.context)

        def die() -> None:
            (gateway,) = world.gateways
            gateway.kill()
            world._bury(gateway)
            world.start_gateway(gateway.disk)

        world.loop.before_step = look

    acts = (Act(1.0, "trade", "ES", 2), Act(1.1, "exit", "ES"))
    base = small(EA_LEADER, acts, chaos_s=16.0)
    plan = replace(base, manners=tuple(replace(m, fill_delay_ms=300) for m in base.manners))
    outcome = run_plan(plan, sabotage=sabotage)
    assert broken(outcome) == []
    assert _gateways(outcome) == 2
    assert len(_written(outcome, " sell ")) == 3
    assert (
        _written(outcome, " sell ", 8.0) == []
    )  # a repair would close it too, once it has seen it for long enough


def _is_fill(row: JournalRow) -> bool:
    entry = decode_row(row)
    return isinstance(entry, Reported) and entry.report.exec_type == "trade"


def _gateways(outcome: Outcome) -> int:
    """Processes that were started."""
    return sum(" start g" in line for line in outcome.trace)
