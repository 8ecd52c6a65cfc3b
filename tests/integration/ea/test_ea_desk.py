"""The holder's desk on a real engine: gaps and silence ask for a snapshot, and only a snapshot mends them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from gateway_container.api.ea_door import EaSession
from gateway_container.ea_desk import EaDesk
from kopitra.domain.ea_sessions import SILENT_MAX_S, Beat, positions_hash
from kopitra.domain.journal import StreamStale
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.store import ea_sessions as store
from kopitra.store.ea_sessions import SessionDraft
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.pool import Database
from kopitra.store.sealing import FileMasterKey, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace
from tests.integration.gateway.world import FIRST, LEADER, WORKSPACE, Follower, World, house


@asynccontextmanager
async def served(dsn: str, folder: Path) -> AsyncGenerator[tuple[World, EaDesk, EaSession]]:
    """A follower, and a leader whose EA has an approved session."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        key_id = await furnished(world.db, folder)
        desk = EaDesk(world.machine, world.db)
        await desk.load()
        task = asyncio.get_running_loop().create_task(desk.run())
        try:
            row = await desk.open(
                SessionDraft("s1", WORKSPACE, key_id, LEADER, "EA", b"t" * 32, b"f" * 32, b"{}")
            )
            session = desk.session(row.session_id)
            assert session is not None
            assert session.status == "authenticated"
            yield world, desk, session
        finally:
            task.cancel()
            await asyncio.wait([task])


async def furnished(db: Database, folder: Path) -> str:
    now = datetime.now(UTC)
    await create_workspace(db, WorkspaceRow(WORKSPACE, "w", now))
    master = FileMasterKey(folder / "master.key")
    await add_data_key(db, master, WORKSPACE, now)
    await create_leader(db, LeaderRow(WORKSPACE, LEADER, "leader", b"{}"))
    issued = await issue_key(db, await load_sealer(db, master), KeyRequest(WORKSPACE, LEADER, "EA", "k"), now)
    await store.approve(db, WORKSPACE, "leader", LEADER, "ann", now)
    return issued.row.key_id


async def asked(world: World, session: EaSession) -> dict[str, bytes]:
    """Wait until the EA is asked for a snapshot."""

    def requests() -> dict[str, bytes]:
        return {e.event_type: e.payload for e in session.outbox.values() if e.event_type == "SyncRequest"}

    await world.until(requests, "a SyncRequest")
    return requests()


def shot(world: World, qty: int, sequence: int) -> LeaderSnapshot:
    held = (("ES", Decimal(qty)),) if qty else ()
    return LeaderSnapshot(WORKSPACE, LEADER, "ea", world.machine.state.clock.now(), held, sequence=sequence)


async def test_a_silent_ea_is_stale_until_its_snapshot(dsn: str, tmp_path: Path) -> None:
    """R-035: entries are refused, exits and protective orders go on, the operator is told."""
    async with served(dsn, tmp_path) as (world, desk, session):
        await world.send(side="buy", quantity=Decimal(2), sequence=1)
        await world.holds(a=2)
        session.heard_s -= SILENT_MAX_S
        await world.until(lambda: world.machine.state.book.streams[LEADER].stale, "a stale stream")
        await world.journalled(lambda e: isinstance(e, StreamStale) and e.leader == LEADER, "StreamStale")
        await world.alert("stream-stale")
        assert b'"stream_stale"' in (await asked(world, session))["SyncRequest"]

        assert await world.send(action="add", side="buy", quantity=Decimal(1), sequence=2) == []
        await world.send(action="reduce", quantity=Decimal(2), sequence=3)
        await world.holds(a=1)

        await desk.snapshot(session, shot(world, 1, 3))
        assert not world.machine.state.book.streams[LEADER].stale
        assert all(event.event_type != "SyncRequest" for event in session.outbox.values())
        await world.send(action="add", side="buy", quantity=Decimal(1), sequence=4)
        await world.holds(a=2)


async def test_a_gap_asks_for_a_snapshot_once_and_an_old_one_is_not_taken(dsn: str, tmp_path: Path) -> None:
    """R-030, R-033."""
    async with served(dsn, tmp_path) as (world, desk, session):
        await world.send(side="buy", quantity=Decimal(3), sequence=1)
        await world.holds(a=3)
        for number in (3, 4):
            assert await world.send(action="add", side="buy", quantity=Decimal(1), sequence=number) == []
        await asked(world, session)
        desk.heard(session, Beat(4))
        await desk.snapshot(session, shot(world, 0, 2))  # it lay in a queue
        await world.holds(a=3)
        assert sum(event.event_type == "SyncRequest" for event in session.outbox.values()) == 1
        await desk.snapshot(session, shot(world, 1, 4))
        await world.holds(a=1)


async def test_a_move_of_an_order_that_nobody_knows_asks_too(dsn: str, tmp_path: Path) -> None:
    """R-032, R-030."""
    async with served(dsn, tmp_path) as (world, _, session):
        await world.send(
            action="replace", price=Decimal(6700), orig_leader_order_id="t9", leader_order_id="t9", sequence=1
        )
        assert b'"move_dropped"' in (await asked(world, session))["SyncRequest"]


async def test_other_positions_at_the_same_act_ask_at_once(dsn: str, tmp_path: Path) -> None:
    """R-035."""
    async with served(dsn, tmp_path) as (world, desk, session):
        await world.send(side="buy", quantity=Decimal(2), sequence=1)
        await world.holds(a=2)
        desk.heard(session, Beat(1, positions_hash([("ES", Decimal(2))])))
        assert not session.mismatch
        desk.heard(session, Beat(1, positions_hash([("ES", Decimal(1))])))
        await world.alert("leader-differs")
        await asked(world, session)
        await desk.snapshot(session, shot(world, 1, 1))
        await world.holds(a=1)


async def test_a_desk_that_starts_again_asks_for_what_was_asked(dsn: str, tmp_path: Path) -> None:
    async with served(dsn, tmp_path) as (world, desk, session):
        await world.send(side="buy", quantity=Decimal(1), sequence=1)
        await world.send(action="add", side="buy", quantity=Decimal(1), sequence=5)
        await asked(world, session)
        desk.acknowledged(session, [], 99)
        await desk._write()

        again = EaDesk(world.machine, world.db)
        await again.load()
        await again._write()
        other = again.session(session.session_id)
        assert other is not None
        numbers = [n for n, event in other.outbox.items() if event.event_type == "SyncRequest"]
        assert numbers
        assert min(numbers) > max(session.outbox, default=2)


async def test_an_acknowledged_event_is_not_told_again_by_the_next_process(dsn: str, tmp_path: Path) -> None:
    async with served(dsn, tmp_path) as (world, desk, session):
        assert [event.event_type for event in desk.pull(session, 0)] == ["InitAck"]
        desk.acknowledged(session, [f"{session.session_id}-1"], None)
        await desk._write()
        again = EaDesk(world.machine, world.db)
        await again.load()
        other = again.session(session.session_id)
        assert other is not None
        assert other.outbox == {}
