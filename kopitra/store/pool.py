"""Connections, and the one place where PostgreSQL's errors become ours.

Two kinds: the journal's own connection (straight to the server, never through a transaction pooler) and a
small pool for everything else. Both give up early: a statement takes at most a second, a lock half of one.
"""

import contextlib
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, LiteralString, Self, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, class_row, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from kopitra.domain.errors import Conflict, Corrupt, Unavailable
from kopitra.store.encoding import encode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
#: values of a statement's parameters
Parameters = Sequence[object] | Mapping[str, object]

#: `-c` settings of every session; milliseconds, but for the keepalives (seconds)
_SESSION: Final = {
    "statement_timeout": "1000",
    "lock_timeout": "500",
    "idle_in_transaction_session_timeout": "5000",
    # The server's side of noticing a peer that is gone: by default it does at the next write, or in hours.
    "client_connection_check_interval": "2000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "timezone": "UTC",
}
#: what libpq is told, so that a dead server is noticed in seconds and not in hours
_LINK: Final = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
#: connections of the pool; the journal's is not among them
POOL_CONNECTIONS_MAX: Final = 4
#: callers that may wait for a connection
POOL_WAITING_MAX: Final = 256
#: seconds that a caller waits for one
POOL_WAIT_S: Final = 1.0
_BUILTIN: Final = (bytes, datetime, Decimal)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What differs between sessions: a name to be seen by, and more server settings."""

    application_name: str
    extra: tuple[tuple[str, str], ...] = ()


class _ExactJson(Loader):
    """`json` columns as their exact bytes: evidence and opaque bodies."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _ParsedJson(Loader):
    """`jsonb` columns as plain values, to be fitted into a row's type."""

    def load(self, data: Buffer) -> object:
        return msgspec.json.decode(bytes(data))


def session_dsn(dsn: str, settings: SessionSettings) -> str:
    """`dsn` with our session settings; options that the DSN already carries are kept."""
    options = [f"-c {name}={_escaped(value)}" for name, value in (*_SESSION.items(), *settings.extra)]
    try:
        given = conninfo_to_dict(dsn).get("options")
    except psycopg.ProgrammingError:  # its text repeats the address, which may hold a password
        raise Unavailable(
            "DATABASE_URL is no address of a PostgreSQL server: write postgresql://user:password@host:5432/database."
        ) from None
    merged = " ".join([*([str(given)] if given else []), *options])
    return make_conninfo(dsn, application_name=settings.application_name, options=merged, **_LINK)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


async def connect(dsn: str, settings: SessionSettings) -> AsyncConnection[TupleRow]:
    """One connection of its own, in autocommit. Raises Unavailable."""
    with translated():
        connection = await AsyncConnection.connect(session_dsn(dsn, settings), autocommit=True)
    _adapt(connection)
    return connection


async def listening(dsn: str, name: str, statements: Sequence[LiteralString]) -> AsyncConnection[TupleRow]:
    """One connection of its own that has said what it listens to; none is left open when it could not. Raises
    Unavailable, or psycopg's errors under `translated`."""
    connection = await connect(dsn, SessionSettings(name))
    try:
        for statement in statements:
            await connection.execute(statement)
    except BaseException:
        await connection.close()
        raise
    return connection


def _adapt(connection: AsyncConnection[TupleRow]) -> None:
    connection.adapters.register_loader("json", _ExactJson)
    connection.adapters.register_loader("jsonb", _ParsedJson)


#: the server, or the way to it, is away. Psycopg counts among the faults of a program that the server ended a session
#: which stood still inside a transaction (a process that was paused), and that it only reads (a fail-over).
_AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
    PoolTimeout,
)


@contextlib.contextmanager
def translated() -> Generator[None]:
    """The rim: no psycopg error passes. What is not listed is a defect of ours and is left to be seen."""
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Conflict(f"It exists already ({error.diag.constraint_name}): choose another id.") from error
    except psycopg.errors.ForeignKeyViolation as error:
        text = (
            f"It names something that this workspace does not have ({error.diag.constraint_name}): "
            "create that first, or correct its id."
        )
        raise Conflict(text, code="unknown-reference") from error
    except _AWAY as error:
        raise Unavailable(
            f"PostgreSQL does not answer: {error}. Check DATABASE_URL and that the server runs."
        ) from error


class Session:
    """One connection inside one transaction: statements in, typed rows out."""

    __slots__ = ("_connection",)

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def rows(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> list[T]:
        """All rows as `kind`, a dataclass whose fields are the columns' names."""
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql, values)
            return [_fit(row, kind) for row in await cursor.fetchall()]

    async def tuples(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> list[T]:
        """All rows as `kind`, unchecked: for the journal, whose pages are large and whose chain is the
        check.
        """
        async with self._connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(sql, values)
            return await cursor.fetchall()

    async def row(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> T | None:
        """The first row as `kind`, None without one."""
        found = await self.rows(kind, sql, values)
        return found[0] if found else None

    async def run(self, sql: LiteralString, values: Parameters = ()) -> int:
        """Run a statement; the number of rows that it touched."""
        return (await self._connection.execute(sql, values)).rowcount


def _fit(row: dict[str, object], kind: type[T]) -> T:
    try:
        return msgspec.convert(row, kind, builtin_types=_BUILTIN)
    except msgspec.ValidationError as error:
        raise Corrupt(f"A row does not fit {kind.__name__}: {error}. Was it changed by hand?") from error


class Database:
    """The small pool: `async with Database(dsn) as db`, then `db.transaction()` or the one-shot forms.

    `who` is the person whose changes these are: the record of every change of configuration names it.
    """

    def __init__(self, dsn: str, application_name: str = "kopitra", who: str = "") -> None:
        self._dsn = dsn
        settings = SessionSettings(application_name, (("kopitra.who", who),) if who else ())
        self._pool = _pool(dsn, settings, 1, POOL_CONNECTIONS_MAX)
        #: connects when it is first asked
        self._aside = _pool(dsn, settings, 0, 1)

    @property
    def dsn(self) -> str:
        """The server, for those who need a connection of their own (journal, lease, listener)."""
        return self._dsn

    async def __aenter__(self) -> Self:
        await self._pool.open()
        await self._aside.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._aside.close()
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Session]:
        """One transaction, committed at the end of the block and rolled back by an exception."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                yield Session(connection)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """Single statements, each its own commit."""
        with translated():
            async with self._pool.connection() as connection:
                yield Session(connection)

    @contextlib.asynccontextmanager
    async def aside(self) -> AsyncGenerator[Session]:
        """The same on a connection beside the pool: for what must not wait behind a crowd at the doors."""
        with translated():
            async with self._aside.connection() as connection:
                yield Session(connection)

    async def rows(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> list[T]:
        """One query, all rows."""
        async with self.session() as session:
            return await session.rows(kind, sql, values)

    async def tuples(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> list[T]:
        """One query, all rows, unchecked."""
        async with self.session() as session:
            return await session.tuples(kind, sql, values)

    async def row(self, kind: type[T], sql: LiteralString, values: Parameters = ()) -> T | None:
        """One query, its first row."""
        async with self.session() as session:
            return await session.row(kind, sql, values)

    async def run(self, sql: LiteralString, values: Parameters = ()) -> int:
        """One statement; the number of rows that it touched."""
        async with self.session() as session:
            return await session.run(sql, values)


def values_of(row: "DataclassInstance", **more: object) -> Parameters:
    """A row's fields as named parameters, `more` over them; mappings become JSON text for `jsonb` columns."""
    values: dict[str, object] = {}
    for field in fields(row):
        value: object = getattr(row, field.name)
        values[field.name] = encode(value).decode() if isinstance(value, Mapping) else value
    return values | more


def _pool(
    dsn: str, settings: SessionSettings, at_least: int, at_most: int
) -> AsyncConnectionPool[AsyncConnection[TupleRow]]:
    return AsyncConnectionPool(
        session_dsn(dsn, settings),
        kwargs={"autocommit": True},
        configure=_configure,
        min_size=at_least,
        max_size=at_most,
        max_waiting=POOL_WAITING_MAX,
        timeout=POOL_WAIT_S,
        # The pool doubles its pause after each failure, which would make every outage twice as long for the lease. Who
        # needs a connection asks again and again: so it gives up soon, and the next one who asks begins anew.
        reconnect_timeout=POOL_WAIT_S,
        open=False,
    )


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    _adapt(connection)
