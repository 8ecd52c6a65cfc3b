"""Promises that a world of their own shows best: accounts of signals, one key fifty times, exits past a full queue."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

from gateway_container.engine.recovery import decode_row
from kopitra.domain.journal import OrderNotSent
from kopitra.domain.limits import RiskLimits
from tests.faults.directed import small
from tests.faults.ea_client import SIGNALS
from tests.faults.gateways import SHARD
from tests.faults.house import EA_LEADER
from tests.faults.knock import Reply
from tests.faults.outcome import Outcome
from tests.faults.rude_broker import WORLD
from tests.faults.runs import Figures, hush
from tests.faults.swarm import Act, make_plan
from tests.faults.test_regressions import broken
from tests.faults.world import World, run_plan

#: posts of one key at once (I-15)
POSTS = 50
#: resting entries, one after the other, to a broker that takes a few in a second
ENTRIES = 120
#: seconds from a leader's exit to the bytes that close, whatever entries wait (I-14)
EXIT_WITHIN_S = 0.5


def _posts(world: World, replies: list[Reply]) -> None:
    """Somebody with the EA's key posts the same signal many times at once."""
    body = {"signalId": "same", "symbol": "ES", "action": "enter", "side": "buy", "quantity": 1}

    async def post() -> None:
        now = world.wall.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        raw = json.dumps({**body, "occurredAt": now}).encode()
        headers = {**world.ea.headers, "idempotency-key": "one-key"}
        replies.extend(
            await asyncio.gather(*(world.knock("POST", SIGNALS, headers, raw) for _ in range(POSTS)))
        )

    def begin() -> None:
        asyncio.get_running_loop().create_task(post(), context=WORLD.context)

    world.loop.call_later(1.0, begin, context=WORLD.context)


def _of_fifty(replies: list[Reply]) -> Outcome:
    hush()
    return run_plan(small(EA_LEADER, (), chaos_s=3.0), sabotage=lambda world: _posts(world, replies))


def test_fifty_posts_of_one_key_at_once_have_one_effect_i_15() -> None:
    """I-15: one 202, and 49 that repeat it or say 409; each follower gets one order."""
    replies: list[Reply] = []
    outcome = _of_fifty(replies)
    statuses = Counter(reply.status for reply in replies)
    assert statuses.keys() <= {202, 409}
    assert statuses.total() == POSTS
    assert len({reply.body for reply in replies if reply.status == 202}) == 1
    assert outcome.placements == 2 * 3  # each follower in, and out again when everybody goes home


def test_a_plan_that_no_leader_told_is_seen_i_04() -> None:
    """I-04: unexpected. The posts above are nobody's act for the EA of this world."""
    outcome = _of_fifty([])
    assert [text for text in broken(outcome) if text.startswith("I-04")] == [
        text for text in broken(outcome) if "same is planned, and its leader never told it" in text
    ]
    assert any(violation.invariant == "I-04" for violation in outcome.violations)


def test_signals_are_accounted_for_and_what_was_recovered_is_counted_i_04() -> None:
    """I-04: tried, acknowledged, and recovered after a try without an answer; nothing lost, doubled or unexpected."""
    hush()
    figures = Figures("", "T-20", 1)
    for seed in range(1, 7):
        figures.take(run_plan(make_plan(seed, frozenset({"client"}))))
    assert figures.broken == {}
    assert figures.attempted == figures.acknowledged > 0
    assert 0 < figures.recovered < figures.acknowledged


def _allow_many(world: World) -> None:
    """More orders in a minute than a queue holds."""
    many = RiskLimits(max_orders_per_minute=10_000)
    accounts = {name: replace(account, limits=many) for name, account in world.config.accounts.items()}
    world.reconfigure(replace(world.config, accounts=accounts))


def test_an_exit_leaves_at_once_past_a_queue_full_of_entries_i_14() -> None:
    """I-14, R-050: every account has more entries than its queue takes, its broker one request at a time."""
    hush()
    seen: list[World] = []
    rests = tuple(Act(2.0 + number / 1_000, "rest", "NQ", 1, 0.5) for number in range(ENTRIES))
    acts = (Act(0.5, "trade", "ES", 1), *rests, Act(2.0 + ENTRIES / 1_000, "exit", "ES"))
    plan = small(EA_LEADER, acts, chaos_s=7.0)
    slow = tuple(replace(m, delay_s=0.1, delay_max_s=0.12, in_flight_max=1) for m in plan.manners)

    def sabotage(world: World) -> None:
        seen.append(world)
        _allow_many(world)

    outcome = run_plan(replace(plan, manners=slow), sabotage=sabotage)
    assert broken(outcome) == []
    # The EA tells one act after the other: the exit is told when the last entry is answered.
    told_s = max(float(line.split()[0]) for line in outcome.trace if " ea " in line and " enter 202" in line)
    closes = [line.split() for line in outcome.trace if " -> " in line and " sell 1 ES" in line]
    assert len(closes) == 3
    assert all(0 < float(words[0]) - told_s <= EXIT_WITHIN_S for words in closes)
    rows = map(decode_row, seen[0].store.tables.journal[SHARD])
    refused = [row for row in rows if isinstance(row, OrderNotSent) and row.reason == "queue_full"]
    assert {row.account_id for row in refused} == seen[0].followers  # each queue was full
