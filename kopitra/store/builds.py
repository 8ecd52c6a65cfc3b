"""Which builds may hold a lease (R-089): a list that people keep, and the first build of a new database.

An empty list lets the first build in and writes it down, so that a fresh database starts; from then on a build that
is not on the list serves the door as a standby and sends nothing. Earlier builds stay on the list: going back needs
no new permission.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from kopitra.domain.errors import Conflict
from kopitra.store.config_changes import ChangeRow, tell_change
from kopitra.store.encoding import encode
from kopitra.store.pool import Database, Session

#: who let the first build in
FIRST: Final = "first start"
#: what a build that nobody judged is called while it breaks the glass; no rollout names a build like that
_GLASS: Final = "+break-glass"

_LIST_SQL: Final = "select build, allowed, reason, who, at from builds order by at, build"
_FIRST_SQL: Final = """
    insert into builds (build, allowed, reason, who, at)
    select %(build)s, true, 'the first build of this database', %(who)s, clock_timestamp()
    where not exists (select from builds)
    on conflict do nothing"""
_SET_SQL: Final = """
    insert into builds (build, allowed, reason, who, at)
    values (%(build)s, %(allowed)s, %(reason)s, %(who)s, clock_timestamp())
    on conflict (build) do update
    set allowed = excluded.allowed, reason = excluded.reason, who = excluded.who, at = excluded.at"""


class BuildNotAllowed(Conflict):
    """This build must not hold a lease; the message says how to allow it."""

    code = "build-not-allowed"


@dataclass(frozen=True, slots=True)
class BuildRow:
    """One build that somebody has judged."""

    build: str
    allowed: bool
    reason: str
    who: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """A build, who judged it, and why."""

    build: str
    allowed: bool
    reason: str
    who: str


async def list_builds(db: Database) -> list[BuildRow]:
    """Every build that was ever judged, oldest verdict first."""
    return await db.rows(BuildRow, _LIST_SQL)


async def check_build(session: Session, build: str) -> None:
    """In the transaction that takes a lease: raises BuildNotAllowed. Lets the first build of a database in."""
    await session.run(_FIRST_SQL, {"build": build, "who": FIRST})
    found = await session.row(BuildRow, "select * from builds where build = %s", (build,))
    if found is None or not found.allowed:
        raise _not_allowed(build, "" if found is None else found.reason)


def is_break_glass(build: str) -> bool:
    """The name of a flatten without a gateway (R-097): it holds a lease for that, and no gateway bears it."""
    return build.endswith(_GLASS)


async def break_glass(db: Database, asked: Verdict, now: datetime) -> str:
    """The name under which a flatten may take the lease: the build's own when it is on the list; a name for this
    purpose when nobody has judged it (R-097), a verdict that is recorded like any other; never a forbidden one.

    Raises BuildNotAllowed.
    """
    judged = {row.build: row for row in await list_builds(db)}
    marked = f"{asked.build}{_GLASS}"
    for row in filter(None, (judged.get(asked.build), judged.get(marked))):
        if not row.allowed:
            raise _not_allowed(row.build, row.reason)
    if not judged or asked.build in judged:
        return asked.build
    await judge(db, replace(asked, build=marked), now)
    return marked


def _not_allowed(build: str, reason: str) -> BuildNotAllowed:
    why = f" ({reason})" if reason else ""
    return BuildNotAllowed(
        f"Build {build} may not hold a lease{why}: allow it with `kopitra builds allow {build}`, "
        "or start one that is on the list (`kopitra builds list`)."
    )


async def judge(db: Database, verdict: Verdict, now: datetime) -> None:
    """Allow or forbid a build; the journal will say who did it and why."""
    async with db.transaction() as session:
        before = await session.row(BuildRow, "select * from builds where build = %s", (verdict.build,))
        values = {
            "build": verdict.build, "allowed": verdict.allowed, "reason": verdict.reason, "who": verdict.who,
        }  # fmt: skip
        await session.run(_SET_SQL, values)
        change = ChangeRow(
            0, "", verdict.who, "build", verdict.build,
            "null" if before is None else encode(before).decode(), encode(verdict).decode(), now,
        )  # fmt: skip
        await tell_change(session, change)
