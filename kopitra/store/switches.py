"""Kill switches as rows. The journal holds their history; the row is what other replicas read and are told
of.
"""

from dataclasses import dataclass
from datetime import datetime

from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """One switch. `epoch` only grows; `workspace` is "" for the scopes global and broker."""

    scope: SwitchScope
    scope_id: str
    workspace: str
    state: SwitchState
    epoch: int
    reason: str
    who: str
    at: datetime


async def set_switch(db: Database, row: SwitchRow) -> bool:
    """Store a change; False if a newer one is known already, and then nothing happens."""
    text = """
        insert into kill_switches (scope, scope_id, workspace, state, epoch, reason, who, at)
        values (%(scope)s, %(scope_id)s, %(workspace)s, %(state)s, %(epoch)s, %(reason)s, %(who)s, %(at)s)
        on conflict (scope, scope_id) do update
        set state = excluded.state, epoch = excluded.epoch, reason = excluded.reason, who = excluded.who,
            at = excluded.at
        where kill_switches.epoch < excluded.epoch"""
    return await db.run(text, values_of(row)) == 1


async def list_switches(db: Database) -> list[SwitchRow]:
    """Every switch that was ever set."""
    text = """
        select scope, scope_id, workspace, state, epoch, reason, who, at
        from kill_switches order by scope, scope_id"""
    async with db.aside() as session:
        return await session.rows(SwitchRow, text)
