"""The entity API over the back office's rows: list, item, items, find, deps, ldeps (vendor docs)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from brokers.tradovate.simulator.logins import User
from brokers.tradovate.simulator.tables import PLURALS, Row, Tables

_KINDS = {kind.lower(): kind for kind in PLURALS}


class Found(NamedTuple):
    """Status and JSON."""

    status: int
    text: str


class Queries:
    """Reads for one login at a time; rows younger than the visibility lag are not there yet."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def answer(self, endpoint: str, query: Mapping[str, str], user: User, until_ns: int) -> Found | None:
        """None when it is no entity query."""
        kind_name, _, action = endpoint.partition("/")
        kind = _KINDS.get(kind_name)
        if kind is None:
            return None
        try:
            return self._act(kind, action, query, user, until_ns)
        except (KeyError, ValueError):
            return Found(400, '"Bad query"')

    def _act(
        self, kind: str, action: str, query: Mapping[str, str], user: User, until_ns: int
    ) -> Found | None:
        rows: Iterable[Row | None]
        match action:
            case "list":
                rows = self._tables.all(kind)
            case "deps":
                rows = self._tables.deps(kind, [int(query["masterid"])])
            case "ldeps":
                rows = self._tables.deps(kind, _ids(query["masterids"]))
            case "items":
                rows = [self._tables.get(kind, row_id) for row_id in _ids(query["ids"])]
            case "item":
                return _one(self._tables.get(kind, int(query["id"])), user, until_ns)
            case "find":
                return _one(self._tables.find(kind, query["name"]), user, until_ns)
            case _:
                return None
        return Found(200, array(visible(rows, user, until_ns)))


def visible(rows: Iterable[Row | None], user: User, until_ns: int) -> Iterable[Row]:
    """The rows that a login may see by now."""
    return (
        row
        for row in rows
        if row is not None
        and row.seen_ns <= until_ns
        and (not row.account_id or row.account_id in user.accounts)
    )


def array(rows: Iterable[Row]) -> str:
    """A JSON array of the rows."""
    return f"[{','.join(row.text for row in rows)}]"


def _one(row: Row | None, user: User, until_ns: int) -> Found:
    found = next(iter(visible([row], user, until_ns)), None)
    return Found(200, found.text) if found is not None else Found(404, '"Not found"')


def _ids(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]
