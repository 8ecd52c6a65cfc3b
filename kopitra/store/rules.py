"""Copy rules, versioned: a change is a new row, because every intent names the version that it was made
by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from kopitra.domain.copy_rules import MapEntry, source_of
from kopitra.store.encoding import Decoder
from kopitra.store.held import Held, Scope, changed_meanwhile, changing
from kopitra.store.pool import Database, Session, values_of


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One version of a rule. `body` is the domain's CopyRule as JSON."""

    workspace: str
    rule_id: str
    leader_id: str
    account_id: str
    body: bytes
    created_at: datetime
    created_by: str
    active: bool = True
    version: int = 1


async def create_rule(db: Database, row: RuleRow) -> RuleRow:
    """The first version. Raises Conflict if the id is taken, or leader or account unknown in this
    workspace.
    """
    first = replace(row, version=1)
    async with db.transaction() as session:
        await _insert(session, first)
    return first


@dataclass(frozen=True, slots=True)
class _Mapped:
    """The part of a rule that says which product follows which."""

    symbol_map: tuple[MapEntry, ...] = ()


_mapped: Final = Decoder(_Mapped)


async def change_rule(db: Database, row: RuleRow, *, force: bool = False) -> RuleRow:
    """A new version after `row.version`, which must be the current one. Raises Conflict if it is not, and StillHeld
    when the follower holds something whose exits the new version would not follow (unless `force`).
    """
    current = await current_rule(db, row.workspace, row.rule_id)
    if current is None or current.version != row.version:
        raise changed_meanwhile("rule", row.rule_id)
    following = replace(row, version=row.version + 1)
    ends = not force and current.active and _may_strand(current, following)
    scope = Scope(current.workspace, current.account_id, current.leader_id) if ends else None
    what = f"Version {following.version} of the rule {row.rule_id}"
    async with changing(db, scope, what, lambda held: _strands(current, following, held)) as session:
        await _insert(session, following)  # of two changes at once, the primary key lets one pass
    return following


def _leaves(old: RuleRow, new: RuleRow) -> bool:
    """The pair has no rule any more."""
    return not new.active or (old.leader_id, old.account_id) != (new.leader_id, new.account_id)


def _may_strand(old: RuleRow, new: RuleRow) -> bool:
    """Other changes, a pause among them, go on following exits and need not look at holdings."""
    return _leaves(old, new) or _mapped(old.body) != _mapped(new.body)


def _strands(old: RuleRow, new: RuleRow, held: Held) -> bool:
    if _leaves(old, new):
        return True
    before = source_of(_mapped(old.body).symbol_map, held.root)
    return before is not None and before != source_of(_mapped(new.body).symbol_map, held.root)


async def _insert(session: Session, row: RuleRow) -> None:
    text = """
        insert into copy_rules
            (workspace, rule_id, version, leader_id, account_id, body, active, created_at, created_by)
        values (%(workspace)s, %(rule_id)s, %(version)s, %(leader_id)s, %(account_id)s,
                convert_from(%(body)s, 'UTF8')::json, %(active)s, %(created_at)s, %(created_by)s)"""
    await session.run(text, values_of(row))


async def current_rule(db: Database, workspace: str, rule_id: str) -> RuleRow | None:
    """The newest version; None also for another workspace's."""
    return next(iter(await rule_versions(db, workspace, rule_id)), None)


async def rule_versions(db: Database, workspace: str, rule_id: str) -> Sequence[RuleRow]:
    """All versions, newest first."""
    text = """
        select workspace, rule_id, leader_id, account_id, body, created_at, created_by, active, version
        from copy_rules where workspace = %s and rule_id = %s order by version desc"""
    return await db.rows(RuleRow, text, (workspace, rule_id))


async def rules_of_leader(db: Database, workspace: str, leader_id: str) -> list[RuleRow]:
    """Current versions of the rules that follow a leader, active or not."""
    text = """
        select distinct on (rule_id)
            workspace, rule_id, leader_id, account_id, body, created_at, created_by, active, version
        from copy_rules where workspace = %s and leader_id = %s order by rule_id, version desc"""
    return await db.rows(RuleRow, text, (workspace, leader_id))


async def list_rules(db: Database, workspace: str) -> list[RuleRow]:
    """Current versions of all rules of a workspace."""
    text = """
        select workspace, rule_id, leader_id, account_id, body, created_at, created_by, active, version
        from copy_rules_current where workspace = %s order by rule_id"""
    return await db.rows(RuleRow, text, (workspace,))
