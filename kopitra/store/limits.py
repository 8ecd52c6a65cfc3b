"""Loss limits of accounts, versioned with the trading day they count from; and requests to measure losses anew."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from kopitra.domain.errors import Conflict
from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class LimitsRow:
    """One version. `body` is the domain's PropLimits as JSON; the columns win over what it says."""

    workspace: str
    account_id: str
    version: int
    effective_from: date
    verified_on: date
    body: bytes
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class NewStartRow:
    """A request to measure anew. None: the gateway takes what the broker tells then. The database makes `start_id`."""

    workspace: str
    account_id: str
    balance: Decimal | None
    peak: Decimal | None
    reason: str
    created_at: datetime
    created_by: str
    start_id: int = 0


async def add_limits(db: Database, row: LimitsRow) -> LimitsRow:
    """The version after `row.version`, which must be the newest (0: there is none yet). Raises Conflict when it is
    not, or the account is unknown in this workspace."""
    following = replace(row, version=row.version + 1)
    text = """
        insert into account_limits
            (workspace, account_id, version, effective_from, verified_on, body, created_at, created_by)
        select %(workspace)s, %(account_id)s, %(version)s, %(effective_from)s, %(verified_on)s,
               convert_from(%(body)s, 'UTF8')::json, %(created_at)s, %(created_by)s
        where %(version)s = 1 + coalesce((select max(version) from account_limits
                where workspace = %(workspace)s and account_id = %(account_id)s), 0)"""
    if await db.run(text, values_of(following)) != 1:
        raise Conflict(f"The limits of {row.account_id} were changed meanwhile: look at them and try again.")
    return following


async def limits_versions(db: Database, workspace: str, account_id: str) -> list[LimitsRow]:
    """All versions of an account, newest first."""
    text = """
        select workspace, account_id, version, effective_from, verified_on, body, created_at, created_by
        from account_limits where workspace = %s and account_id = %s order by version desc"""
    return await db.rows(LimitsRow, text, (workspace, account_id))


async def ask_new_start(db: Database, row: NewStartRow) -> None:
    """Ask the gateway to measure an account's losses anew (R-104). Raises Conflict for an unknown account."""
    text = """
        insert into measuring_starts (workspace, account_id, balance, peak, reason, created_at, created_by)
        values (%(workspace)s, %(account_id)s, %(balance)s, %(peak)s, %(reason)s, %(created_at)s, %(created_by)s)"""
    await db.run(text, values_of(row))


async def new_starts(db: Database, workspace: str, account_id: str) -> list[NewStartRow]:
    """All requests of an account, newest first."""
    text = """
        select workspace, account_id, balance, peak, reason, created_at, created_by, start_id
        from measuring_starts where workspace = %s and account_id = %s order by start_id desc"""
    return await db.rows(NewStartRow, text, (workspace, account_id))
