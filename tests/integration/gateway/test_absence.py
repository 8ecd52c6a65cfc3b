"""R-009 to R-013 on real wires: absence is proved, never assumed; exits converge; people can take a doubt over."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.doubt import T_VIS_MIN_MS
from kopitra.domain.ids import cl_ord_id, list_id
from kopitra.domain.journal import AbsenceProved, Doubted, FollowUp, OrderNotSent, Reported, SignalPlanned
from kopitra.domain.orders import ChildOrder
from tests.integration.gateway.partial_reads import without_orders
from tests.integration.gateway.world import FIRST, SECOND, Follower, World, engine, house, rule, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def patient(account_id: str) -> CopyRule:
    """An entry that was proved absent is sent again while it is young."""
    return rule(account_id, resend_entry_after_proof=True, max_age_s=Decimal(60))


async def lost(world: World, **signal: object) -> list[ChildOrder]:
    """The requests of this signal are lost on the way, at every broker."""
    for sim in world.sims.values():
        await sim.settings(drop_request_ratio=1.0)
    children = await world.send(**signal)
    await world.until(lambda: all(c.state == "in_doubt" for c in children), "doubt")
    for sim in world.sims.values():
        await sim.settings(drop_request_ratio=0.0)
    return children


async def test_a_lost_entry_is_proved_absent_and_not_sent_again_r_010_r_011(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        children = await lost(world, side="buy", quantity=1)
        await world.until(lambda: all(c.state == "not_placed" for c in children), "proof of absence")
        for account in ONE_EACH:
            await world.alert("order-not-placed", account)
            assert await world.sim(account).placements(account) == []
        proofs = [e for e in await world.journal() if isinstance(e, AbsenceProved)]
        assert {p.cl_ord_id for p in proofs} == {c.intent.cl_ord_id for c in children}
        for proof in proofs:
            first, second = proof.reads
            assert second.after_ms - first.after_ms >= proof.t_vis_ms >= 5_000
            assert first.life == second.life > 0
        await world.send(action="exit")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.no_order_is_doubled()


async def test_reads_without_the_list_of_orders_prove_nothing_r_002_r_010(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry rests there: who took a part for the whole would tell it absent, and forget an order that can fill."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        reads: list[int] = []
        without_orders(world, monkeypatch, lambda _lane, found: reads.append(found.started_ns))
        await world.sim("a").settings(drop_answer_ratio=1.0, stream_silent=True)
        (child,) = await world.send(
            side="buy", quantity=1, ord_type="limit", price=Decimal(6000), leader_order_id="o"
        )
        await world.until(lambda: child.state == "in_doubt", "doubt")
        apart_ns = T_VIS_MIN_MS * 1_000_000
        await world.until(lambda: reads and reads[-1] > reads[0] + apart_ns, "reads that would be proof")
        monkeypatch.undo()
        await world.sim("a").settings(drop_answer_ratio=0.0, stream_silent=False)
        await world.sim("a").control("drop-streams")
        await world.until(lambda: child.state == "working", "what the list shows")
        assert not [e for e in await world.journal() if isinstance(e, AbsenceProved)]
        await world.no_order_is_doubled()


async def test_an_absent_entry_is_sent_again_only_where_rule_and_broker_allow_it_r_011(dsn: str) -> None:
    followers = {"a": Follower(FIRST, patient), "b": Follower(SECOND, patient)}
    async with house(dsn, followers) as world:
        children = await lost(world, side="buy", quantity=1)
        for child in children:
            account = child.intent.account_id
            if world.sim(account).adapter.capabilities.dedups_for_ever:
                await world.holds(**{account: 1})
                assert [r.cl_ord_id for r in await world.sim(account).placements(account)] == [
                    child.intent.cl_ord_id
                ]
            else:
                await world.until(lambda child=child: child.state == "not_placed", "proof of absence")
                assert await world.sim(account).placements(account) == []


async def test_a_lost_exit_is_closed_anew_from_what_the_broker_holds_r_012(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2, b=2)
        children = await lost(world, action="exit")
        assert {c.intent.role for c in children} == {"exit"}
        await world.holds(a=0, b=0)
        for account in ONE_EACH:
            assert len(await world.sim(account).placements(account)) == 2
        follow = [e for e in await world.journal() if isinstance(e, FollowUp)]
        closes = [i for f in follow for i in f.released]
        assert all(i.reduce_only and i.qty == 2 for i in closes)
        await world.no_order_is_doubled()


async def test_the_reads_find_an_executed_order_before_anything_is_concluded_r_009(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        for sim in world.sims.values():
            await sim.settings(stream_silent=True, drop_answer_ratio=1.0, list_visibility_lag_ms=1_000)
        children = await world.send(side="buy", quantity=1)
        await world.until(lambda: all(c.state == "in_doubt" for c in children), "doubt")
        for sim in world.sims.values():
            await sim.settings(drop_answer_ratio=0.0)
        await world.until(lambda: all(c.state == "filled" for c in children), "the fills in the lists")
        await world.holds(a=1, b=1)
        assert not [e for e in await world.journal() if isinstance(e, AbsenceProved)]


async def test_ids_recompute_from_the_journal_and_are_in_it_before_the_ledger_has_them_r_005_r_006(
    dsn: str,
) -> None:
    """R-005, R-006."""
    async with house(dsn, ONE_EACH) as world:
        for _ in range(2):
            await world.send(side="buy", quantity=1, stop_loss={"offset": Decimal(10)})
            await world.holds(a=1, b=1)
            await world.working("a", 1)
            await world.working("b", 1)
            await world.send(action="exit")
            await world.holds(a=0, b=0)
        entries = await world.journal()
        signals = {list_id("ws1", e.signal.signal_id) for e in entries if isinstance(e, SignalPlanned)}
        plans = [
            a.intent for e in entries if isinstance(e, SignalPlanned) for x in e.plan.legs for a in x.orders
        ]
        intents = plans + [i for e in entries if isinstance(e, FollowUp) for i in e.released]
        for intent in intents:
            assert intent.list_id in signals
            assert intent.cl_ord_id == cl_ord_id(intent.list_id, intent.account_id, intent.leg)
            assert len(intent.cl_ord_id) <= 32
        journalled = {intent.cl_ord_id for intent in intents}
        for sim in world.sims.values():
            placed = [row.cl_ord_id for row in await sim.placements()]
            assert placed
            assert set(placed) <= journalled


def moving(entries: list[object]) -> list[object]:
    """What moves orders: sessions, alerts, comparisons and heartbeats come anew with every start."""
    kinds = (SignalPlanned, Reported, Doubted, AbsenceProved, FollowUp, OrderNotSent)
    return [e for e in entries if isinstance(e, kinds)]


async def test_restarts_in_a_row_add_no_order_event_i_12_r_021(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=2, stop_loss={"offset": Decimal(10)})
            await world.holds(a=2, b=2)
            await world.working("a", 1)
            await world.working("b", 1)
        async with engine(dsn, on) as world:
            once = moving(list(await world.journal()))
        async with engine(dsn, on) as world:
            await world.until(lambda: world.machine.state.facts_of("a").lives == 1, "a session")
        async with engine(dsn, on) as world:
            assert moving(list(await world.journal())) == once
            await world.send(action="exit")
            await world.holds(a=0, b=0)


async def restored_to(world: World, seq: int) -> None:
    """The database as a backup of an earlier time brings it back."""
    async with world.db.transaction() as session:
        await session.run("set local session_replication_role = replica")  # past the guards of the journal
        await session.run("delete from journal where seq > %(seq)s", {"seq": seq})
        await session.run("delete from signal_ids where seq > %(seq)s", {"seq": seq})
        await session.run("delete from snapshots")
        await session.run("update projection_heads set seq = least(seq, %(seq)s)", {"seq": seq})
        await session.run("update lease set released = true")


async def test_orders_that_a_restored_journal_lost_are_told_and_adopted_by_their_id_r_077(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1, b=1)
            await world.send(action="exit")
            await world.holds(a=0, b=0)
        async with engine(dsn, on, stop=False) as world:
            kept = len(await world.journal())
            again = world.signal(side="buy", quantity=1)
            await world.machine.intake.accept(again, None).committed
            await world.holds(a=1, b=1)
            await world.crash()
            await restored_to(world, kept)
        async with engine(dsn, on) as world:
            for account in ONE_EACH:
                await world.alert("journal-lost-orders", account)
            assert len(world.machine.state.book.strangers) == 2
            # The EA repeats its signal: the same ids, which are looked up instead of written.
            now = datetime.now(UTC)
            again = replace(again, occurred_at=now, received_at=now)
            await world.machine.intake.accept(again, None).committed
            await world.holds(a=1, b=1)
            await world.no_order_is_doubled()
            assert not world.machine.state.book.strangers
            await world.send(action="exit")
            await world.holds(a=0, b=0)
