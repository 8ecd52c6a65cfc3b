"""What a person must know, until somebody has acknowledged it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from kopitra.store.pool import Database, values_of

Severity = Literal["info", "warning", "critical"]
#: rows of one page
PAGE_ROWS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert about `subject` (an account, a login, a leader); `detail` is JSON."""

    workspace: str
    alert_id: str
    severity: Severity
    subject: str
    text: str
    detail: bytes
    raised_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


async def raise_alert(db: Database, row: AlertRow) -> bool:
    """Store an alert; False if it was raised before."""
    text = """
        insert into alerts (workspace, alert_id, severity, subject, text, detail, raised_at)
        values (%(workspace)s, %(alert_id)s, %(severity)s, %(subject)s, %(text)s,
                convert_from(%(detail)s, 'UTF8')::json, %(raised_at)s)
        on conflict do nothing"""
    return await db.run(text, values_of(row)) == 1


async def acknowledge_alert(db: Database, workspace: str, alert_id: str, who: str, at: datetime) -> bool:
    """Close an alert; False if it is unknown or closed."""
    text = """
        update alerts set acknowledged_at = %s, acknowledged_by = %s
        where workspace = %s and alert_id = %s and acknowledged_at is null"""
    return await db.run(text, (at, who, workspace, alert_id)) == 1


async def open_alerts(db: Database, workspace: str) -> list[AlertRow]:
    """The newest alerts that nobody has acknowledged."""
    text = """
        select workspace, alert_id, severity, subject, text, detail, raised_at, acknowledged_at,
               acknowledged_by
        from alerts where workspace = %s and acknowledged_at is null order by raised_at desc limit %s"""
    return await db.rows(AlertRow, text, (workspace, PAGE_ROWS_MAX))
