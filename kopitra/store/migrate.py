"""Bringing a database to this build's schema.

Migrations come in pairs and follow expand and contract. `NNN_name.pre.sql` only adds: it runs before the
new build starts, while the old one still works. `NNN_name.post.sql` takes away what nobody reads any more:
it runs after the last old replica is gone. So two builds can always run side by side, and going back one
build is always possible until the post step has run.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, LiteralString, cast

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from kopitra.domain.errors import StoreError
from kopitra.store.pool import SessionSettings, connect, translated

Stage = Literal["pre", "post"]

MIGRATIONS_DIR: Final = Path(__file__).parent / "sql" / "migrations"
SCHEMA_FILE: Final = Path(__file__).parent / "sql" / "schema.sql"
_NAME: Final = re.compile(r"(?P<number>\d{3})_(?P<name>[a-z0-9_]+)\.(?P<stage>pre|post)\.sql")
#: any fixed number; two migrations at once take turns
_ADVISORY_LOCK: Final = 7_020_604_510_021
_VERSION_TABLE: Final = """
    create table if not exists schema_version (
        number     integer not null,
        stage      text not null check (stage in ('pre', 'post')),
        name       text not null,
        sha256     text not null,
        applied_at timestamptz not null default clock_timestamp(),
        primary key (number, stage)
    )"""
_SETTINGS: Final = (("statement_timeout", "0"), ("lock_timeout", "5000"))


class SchemaMismatch(StoreError):
    """The database and this build do not fit together; the message says which of the two must move."""

    code = "schema-mismatch"


@dataclass(frozen=True, slots=True)
class Step:
    """One migration file."""

    number: int
    stage: Stage
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Fingerprint of the file: an applied one must not change."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """As the file is called."""
        return f"{self.number:03}_{self.name}.{self.stage}"


@dataclass(frozen=True, slots=True)
class _Applied:
    number: int
    stage: Stage
    name: str
    sha256: str


def steps(folder: Path = MIGRATIONS_DIR) -> tuple[Step, ...]:
    """All migration files in order: by number, pre before post."""
    found: list[Step] = []
    for path in folder.glob("*.sql"):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise SchemaMismatch(f"{path.name} is not named like 001_start.pre.sql: rename it.")
        stage: Stage = "pre" if match["stage"] == "pre" else "post"
        found.append(Step(int(match["number"]), stage, match["name"], path.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda step: (step.number, step.stage == "post")))


def newest_step() -> int:
    """Number of the newest migration that this build knows."""
    return max(step.number for step in steps())


async def migrate(dsn: str, *, stage: Stage = "post", folder: Path = MIGRATIONS_DIR) -> list[str]:
    """Apply what is pending and return its titles.

    `stage="pre"` stops before the first pending post step (a rolling deployment); an empty database and
    `stage="post"` take everything. Each file is one transaction. Raises SchemaMismatch or Unavailable.
    """
    connection = await connect(dsn, SessionSettings("kopitra migrate", _SETTINGS))
    with translated():
        async with connection:
            await connection.execute("select pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            await connection.execute(_VERSION_TABLE)
            applied = await _applied(connection)
            chosen = plan(steps(folder), applied)
            if stage == "pre" and applied:
                chosen = list(itertools.takewhile(lambda step: step.stage == "pre", chosen))
            for step in chosen:
                await _apply(connection, step)
            return [step.title for step in chosen]


async def check_schema(dsn: str, folder: Path = MIGRATIONS_DIR) -> None:
    """Refuse to start on a database that this build does not fit. Raises SchemaMismatch."""
    connection = await connect(dsn, SessionSettings("kopitra migrate"))
    with translated():
        async with connection:
            found = await connection.execute("select to_regclass('schema_version') is not null")
            exists = await found.fetchone()
            applied = await _applied(connection) if exists is not None and exists[0] else []
    missing = [step.title for step in plan(steps(folder), applied) if step.stage == "pre"]
    if missing:
        raise SchemaMismatch(f"The database lacks {', '.join(missing)}: run `kopitra migrate`.")


def plan(known: tuple[Step, ...], applied: list[_Applied]) -> list[Step]:
    """The steps still to apply. A step that this build does not know is fine if it only added something."""
    by_key = {(step.number, step.stage): step for step in known}
    for done in applied:
        step = by_key.pop((done.number, done.stage), None)
        if step is None:
            if done.stage == "post":
                raise SchemaMismatch(
                    f"The database is of a newer build: {done.number:03}_{done.name}.post took "
                    "away what this build needs. Deploy the newer build, or restore an older backup."
                )
        elif step.sha256 != done.sha256:
            raise SchemaMismatch(
                f"{step.title} was applied with another text. Restore the file; put the change "
                "into a new one."
            )
    return list(by_key.values())


async def _applied(connection: AsyncConnection[TupleRow]) -> list[_Applied]:
    async with connection.cursor(row_factory=class_row(_Applied)) as cursor:
        await cursor.execute("select number, stage, name, sha256 from schema_version order by number")
        return await cursor.fetchall()


async def _apply(connection: AsyncConnection[TupleRow], step: Step) -> None:
    async with connection.transaction():
        # A migration is our own reviewed file, as good as a literal.
        await connection.execute(cast("LiteralString", step.text), prepare=False)
        await connection.execute(
            "insert into schema_version (number, stage, name, sha256) values (%s, %s, %s, %s)",
            (step.number, step.stage, step.name, step.sha256),
        )
