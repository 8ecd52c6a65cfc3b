"""Which processes serve a shard, by their own word: build, configuration, role (R-089)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from kopitra.store.pool import Database, values_of

Role = Literal["standby", "holder", "stopping"]
#: seconds between two signs of life
BEAT_S: Final = 1.0
#: seconds of silence after which a replica counts as gone
GONE_S: Final = 5.0

_BEAT_SQL: Final = """
    insert into replicas (holder, shard, build, config_hash, schema, role, epoch, note, started_at, seen_at)
    values (%(holder)s, %(shard)s, %(build)s, %(config_hash)s, %(schema)s, %(role)s, %(epoch)s, %(note)s,
            clock_timestamp(), clock_timestamp())
    on conflict (holder) do update
    set shard = excluded.shard, build = excluded.build, config_hash = excluded.config_hash,
        schema = excluded.schema, role = excluded.role, epoch = excluded.epoch, note = excluded.note,
        seen_at = excluded.seen_at"""
_LIVE_SQL: Final = """
    select holder, shard, build, config_hash, schema, role, epoch, note, started_at, seen_at
    from replicas where shard = %s and seen_at > clock_timestamp() - make_interval(secs => %s) order by holder"""
# A name that comes back is the same process's; rows of names that never do are swept out after a day.
_SWEEP_SQL: Final = "delete from replicas where seen_at < clock_timestamp() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a replica says of itself. `config_hash`: of what decides about orders; `note`: why it cannot take over."""

    holder: str
    shard: str
    build: str
    config_hash: str
    schema: int
    role: Role
    epoch: int
    note: str


@dataclass(frozen=True, slots=True)
class ReplicaRow:
    """One replica as it was last heard of."""

    holder: str
    shard: str
    build: str
    config_hash: str
    schema: int
    role: Role
    epoch: int
    note: str
    started_at: datetime
    seen_at: datetime


async def beat(db: Database, mine: Beat) -> list[ReplicaRow]:
    """Say that we live; everyone who does, ourselves included."""
    async with db.session() as session:
        await session.run(_BEAT_SQL, values_of(mine))
        return await session.rows(ReplicaRow, _LIVE_SQL, (mine.shard, GONE_S))


async def live_replicas(db: Database, shard: str) -> list[ReplicaRow]:
    """Who was heard of within GONE_S."""
    return await db.rows(ReplicaRow, _LIVE_SQL, (shard, GONE_S))


async def leave(db: Database, holder: str) -> None:
    """We are going; and names that nobody has used for a day go with us."""
    await db.run("delete from replicas where holder = %s", (holder,))
    await db.run(_SWEEP_SQL)
