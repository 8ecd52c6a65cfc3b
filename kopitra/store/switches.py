"""Kill switches as rows. The journal holds their history; the row is what other replicas read and are told
of.
"""

from dataclasses import dataclass
from datetime import datetime

from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """One switch. `epoch` only grows; `workspace` is "" for global, and for a broker in all workspaces."""

    scope: SwitchScope
    scope_id: str
    workspace: str
    state: SwitchState
    epoch: int
    reason: str
    who: str
    at: datetime


async def set_switch(db: Database, row: SwitchRow, known: int | None = None) -> bool:
    """Store a change; False if a newer one is stored already, and then nothing happens.

    `known`: the newest epoch that the author of the change knew of, where that is not any before its own.
    """
    text = """
        insert into kill_switches (scope, scope_id, workspace, state, epoch, reason, who, at)
        values (%(scope)s, %(scope_id)s, %(workspace)s, %(state)s, %(epoch)s, %(reason)s, %(who)s, %(at)s)
        on conflict (scope, scope_id) do update
        set state = excluded.state, epoch = excluded.epoch, reason = excluded.reason, who = excluded.who,
            at = excluded.at
        where kill_switches.epoch <= %(known)s"""
    newest = row.epoch - 1 if known is None else known
    return await db.run(text, values_of(row, known=newest)) == 1


async def read_switch(db: Database, scope: SwitchScope, scope_id: str) -> SwitchRow | None:
    """One switch; None when it was never set."""
    text = """
        select scope, scope_id, workspace, state, epoch, reason, who, at
        from kill_switches where scope = %(scope)s and scope_id = %(scope_id)s"""
    async with db.aside() as session:
        return next(iter(await session.rows(SwitchRow, text, {"scope": scope, "scope_id": scope_id})), None)


async def list_switches(db: Database) -> list[SwitchRow]:
    """Every switch that was ever set."""
    text = """
        select scope, scope_id, workspace, state, epoch, reason, who, at
        from kill_switches order by scope, scope_id"""
    async with db.aside() as session:
        return await session.rows(SwitchRow, text)
