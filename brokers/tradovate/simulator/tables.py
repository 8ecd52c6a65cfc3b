"""The simulated back office: every entity as JSON text, rendered once per change."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

EventType = Literal["Created", "Updated"]


class Row(NamedTuple):
    """One entity. `master` is the parent's id for deps/ldeps, `account_id` 0 means visible to every login."""

    kind: str
    id: int
    master: int
    account_id: int
    text: str
    name: str = ""
    seen_ns: int = 0


class Change(NamedTuple):
    """A row that is new or has changed, for the stream."""

    event_type: EventType
    row: Row


#: arrays of the snapshot, in the order in which they are sent
PLURALS = {
    "user": "users",
    "account": "accounts",
    "cashBalance": "cashBalances",
    "position": "positions",
    "contract": "contracts",
    "command": "commands",
    "orderVersion": "orderVersions",
    "order": "orders",
    "commandReport": "commandReports",
    "executionReport": "executionReports",
    "fill": "fills",
}


class Tables:
    """All rows by kind and id."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, Row]] = {kind: {} for kind in PLURALS}
        self._by_master: dict[tuple[str, int], dict[int, Row]] = {}

    def put(self, row: Row) -> Change:
        """Store a row; the change for the stream."""
        rows = self._rows[row.kind]
        event_type: EventType = "Updated" if row.id in rows else "Created"
        rows[row.id] = row
        self._by_master.setdefault((row.kind, row.master), {})[row.id] = row
        return Change(event_type, row)

    def has(self, kind: str) -> bool:
        """Whether there is such an entity type."""
        return kind in self._rows

    def get(self, kind: str, row_id: int) -> Row | None:
        """One row."""
        return self._rows[kind].get(row_id)

    def all(self, kind: str) -> Iterable[Row]:
        """Every row of a kind, oldest first."""
        return self._rows[kind].values()

    def deps(self, kind: str, masters: Iterable[int]) -> Iterable[Row]:
        """The children of the masters."""
        return (row for master in masters for row in self._by_master.get((kind, master), {}).values())

    def find(self, kind: str, name: str) -> Row | None:
        """By exact name."""
        return next((row for row in self._rows[kind].values() if row.name == name), None)
