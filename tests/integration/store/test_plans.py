"""Every query that runs often finds its rows by an index, whatever the size of the table."""

import json
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cli.local.postgres import EmbeddedPostgres
from kopitra.store import held, journal_questions, journal_reader, projections

ROWS = 20_000
FILL: tuple[LiteralString, ...] = (
    "insert into workspaces select 'w' || i, '', now() from generate_series(1, 5) i",
    "insert into logins select 'w' || i, 'l' || i, 'b', '', '{}' from generate_series(1, 5) i",
    """insert into accounts
       select 'w' || 1 + i %% 5, 'a' || i, 'l' || 1 + i %% 5, i, '', '{}', '{}'
       from generate_series(1, 500) i""",
    "insert into leaders select 'w' || 1 + i %% 5, 'b' || i, '', null, '{}' from generate_series(1, 200) i",
    """insert into copy_rules
       select 'w' || 1 + i %% 5, 'r' || i, v, 'b' || 1 + (i - 1) %% 200, 'a' || 1 + (i - 1) %% 500, '{}',
              true, now(), ''
       from generate_series(1, 2000) i, generate_series(1, 5) v""",
    """insert into journal
       select 's' || 1 + i %% 2, 1 + i / 2, 1, now(), 'k', 'e', 'w1', '{}', '\\x00'
       from generate_series(0, %(rows)s) i""",
    """insert into signal_ids
       select 'w' || 1 + i %% 5, 's' || i, 's1', i from generate_series(1, %(rows)s) i""",
    """insert into idempotency
       select 'w1', 'p', '/signals', 'k' || i, '\\x00', 202, '\\x00', now() - i * interval '1 minute'
       from generate_series(1, %(rows)s) i""",
    """insert into orders
       select 'w' || 1 + i %% 5, 'c' || i, 's1', 'a' || 1 + i %% 500, 'b', 'l', 's' || i / 20, 'r', 1, '',
              'ESZ6', 'buy', 'market', 'day', 1, null, null, 'filled', 1, 1, '',
              now() - i * interval '1 minute', now(), i
       from generate_series(1, %(rows)s) i""",
    """insert into holdings
       select 'w' || 1 + i %% 5, 'a' || 1 + i %% 500, 'b' || i / 500, 'ESZ6', 's1', i %% 2, now(), i
       from generate_series(1, %(rows)s) i""",
    """insert into executions
       select 'w' || 1 + i %% 5, 'a' || 1 + i %% 500, 'e' || i, 's1', 'c' || i, '', 'trade', 'ESZ6', 'buy',
              1, 1, now() - i * interval '1 minute', i
       from generate_series(1, %(rows)s) i""",
    """insert into ea_keys
       select 'w' || 1 + i %% 5, 'k' || i, 'b' || 1 + (i - 1) %% 200, '', '', '\\x00', null, false, '{}',
              60, now(), now()
       from generate_series(1, 5000) i""",
)
QUERIES: dict[str, tuple[LiteralString, tuple[object, ...] | dict[str, object]]] = {
    "head": (journal_questions.HEAD_SQL, {"shard": "s1"}),
    "tail": (journal_questions.TAIL_SQL, {"shard": "s1", "after": 900}),
    "replay": (journal_reader.PAGE_SQL, {"shard": "s1", "after": 900, "limit": 100}),
    "one answer": (journal_questions.IDEMPOTENCY_SQL, ("w1", "p", "/signals", "k77")),
    "one signal": (journal_questions.SIGNAL_SQL, ("w3", "s77")),
    "recent answers": (
        "select * from idempotency where at > %s order by at desc limit 1000",
        ("now",),
    ),
    "purge": ("select ctid from idempotency where at < %s order by at limit 5000", ("yesterday",)),
    "orders of an account": (projections.ORDERS_OF_ACCOUNT_SQL, ("w3", "a77", 100)),
    "orders by status": (projections.ORDERS_BY_STATUS_SQL, ("w3", "a77", "new", 100)),
    "orders of a signal": (projections.ORDERS_OF_SIGNAL_SQL, ("w3", "s77")),
    "executions of an account": (projections.EXECUTIONS_OF_ACCOUNT_SQL, ("w3", "a77", 100)),
    "what an account holds": (
        held.HELD_SQL,
        {"workspace": "w3", "account": "a78", "leader": None, "login": None, "limit": 500},
    ),
    "rules of a leader": (
        "select distinct on (rule_id) * from copy_rules where workspace = %s and leader_id = %s"
        " order by rule_id, version desc",
        ("w3", "b7"),
    ),
    "versions of a rule": (
        "select * from copy_rules where workspace = %s and rule_id = %s order by version desc",
        ("w3", "r77"),
    ),
    "keys of a leader": ("select * from ea_keys where workspace = %s and leader_id = %s", ("w3", "b7")),
}


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres, template: str) -> str:
    """A database with enough rows that reading whole tables would not pay."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"create database plans template {template}".encode())
    dsn = make_conninfo(postgres.dsn, dbname="plans")
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement, {"rows": ROWS})
        connection.execute("vacuum analyze")
    return dsn


@pytest.mark.parametrize("name", QUERIES)
def test_a_hot_query_uses_an_index(filled: str, name: str) -> None:
    text, values = QUERIES[name]
    with psycopg.connect(filled) as connection, psycopg.ClientCursor(connection) as cursor:
        row = cursor.execute(f"explain (format json) {text}", values).fetchone()
    assert row is not None
    plan = json.dumps(row[0])
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan, plan
