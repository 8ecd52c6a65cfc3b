"""Migrations: equal to the readable schema, in pairs, and never backwards by accident."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli.local.postgres import EmbeddedPostgres
from kopitra.store.migrate import SCHEMA_FILE, SchemaMismatch, check_schema, migrate, steps

#: everything that a schema is made of, as text
DUMP = """
    select 'column', table_name || '.' || column_name, concat_ws(' ', ordinal_position, data_type, udt_name,
           is_nullable, column_default) from information_schema.columns where table_schema = 'public'
    union all
    select 'storage', attrelid::regclass || '.' || attname, attstorage::text from pg_attribute
    join pg_class on pg_class.oid = attrelid where relnamespace = 'public'::regnamespace and attnum > 0
    union all
    select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace
    union all
    select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
    union all
    select 'view', viewname, definition from pg_views where schemaname = 'public'
    union all
    select 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(pg_trigger.oid) from pg_trigger
    join pg_class on pg_class.oid = tgrelid where relnamespace = 'public'::regnamespace and not tgisinternal
    union all
    select 'function', proname, pg_get_functiondef(oid) from pg_proc
    where pronamespace = 'public'::regnamespace
    order by 1, 2, 3"""


@pytest.fixture
def empty(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database."""
    name = f"empty_{abs(hash(request.node.name))}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield make_conninfo(postgres.dsn, dbname=name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "001_start.pre.sql": "create table t (a int)",
        "002_rename.pre.sql": "alter table t add column b int",
        "002_rename.post.sql": "alter table t drop column a",
        "003_more.pre.sql": "alter table t add column c int",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def dump(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(DUMP).fetchall()


def columns(dsn: str) -> list[str]:
    found = [str(row[1]) for row in dump(dsn) if row[0] == "column"]
    return [name for name in found if name.startswith("t.")]


async def test_the_migrations_lead_to_the_schema_that_people_read(dsn: str, empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(SCHEMA_FILE.read_text().encode())
        connection.execute("create table schema_version as table pg_class with no data")
    migrated = [row for row in dump(dsn) if "schema_version" not in str(row)]
    readable = [row for row in dump(empty) if "schema_version" not in str(row)]
    assert len(migrated) > 200
    assert migrated == readable


async def test_a_second_run_has_nothing_to_do(empty: str) -> None:
    assert await migrate(empty) == [step.title for step in steps()]
    assert await migrate(empty) == []
    await check_schema(empty)


async def test_an_unmigrated_database_is_refused_with_the_remedy(empty: str) -> None:
    with pytest.raises(SchemaMismatch, match="kopitra migrate"):
        await check_schema(empty)


async def test_a_rolling_deployment_expands_first_and_contracts_later(empty: str, folder: Path) -> None:
    first = folder / "001_start.pre.sql"
    alone = folder / "alone"
    alone.mkdir()
    (alone / first.name).write_text(first.read_text())
    await migrate(empty, folder=alone)

    assert await migrate(empty, stage="pre", folder=folder) == ["002_rename.pre"]
    assert columns(empty) == ["t.a", "t.b"]
    await check_schema(empty, alone)  # the old build still runs beside the new schema

    assert await migrate(empty, folder=folder) == ["002_rename.post", "003_more.pre"]
    assert columns(empty) == ["t.b", "t.c"]
    with pytest.raises(SchemaMismatch, match="newer build"):
        await check_schema(empty, alone)
    with pytest.raises(SchemaMismatch, match="newer build"):
        await migrate(empty, folder=alone)


async def test_an_edited_migration_is_refused(empty: str, folder: Path) -> None:
    await migrate(empty, folder=folder)
    (folder / "001_start.pre.sql").write_text("create table other (a int)")
    with pytest.raises(SchemaMismatch, match="another text"):
        await migrate(empty, folder=folder)


async def test_a_failing_step_leaves_nothing_half_done(empty: str, folder: Path) -> None:
    (folder / "003_more.pre.sql").write_text("alter table t add column c int; select 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(empty, folder=folder)
    assert columns(empty) == ["t.b"]


async def test_a_misnamed_file_is_refused(folder: Path) -> None:
    (folder / "4_wrong.sql").write_text("")
    with pytest.raises(SchemaMismatch, match="rename"):
        steps(folder)
