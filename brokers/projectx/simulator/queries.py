"""The read side of the simulated API: accounts, contracts, orders, positions, trades."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from brokers._kit.matching import Execution, MatchingCore, OrderState
from brokers.projectx.simulator import render
from brokers.projectx.simulator.contracts import Row
from brokers.projectx.simulator.desk import BadBody, integer, text
from brokers.projectx.simulator.render import Json, envelope

SEARCH_ROWS_MAX: Final = 20  #: contracts one search returns
PAGE_SIZE_MAX: Final = 1_000  #: orders one page of v2/query returns
_NS_PER_MS: Final = 1_000_000
_NS_PER_US: Final = 1_000

Body = Mapping[str, object]


class Queries:
    """Answers of one simulator; `list_visibility_lag_ms` of its settings hides what is younger."""

    def __init__(
        self,
        core: MatchingCore,
        rows: Callable[[], tuple[Row, ...]],
        linked: Callable[[OrderState], int | None],
    ) -> None:
        self._core = core
        self._rows = rows
        self._linked = linked

    def rows(self) -> Mapping[str, Row]:
        """Contracts by the core's symbol."""
        return {row.name: row for row in self._rows()}

    # -- reference data --------------------------------------------------------------------------------

    def accounts(self, user: str, body: Body) -> Json:
        """`Account/search`."""
        only_active = body.get("onlyActiveAccounts") is True
        found = [
            render.account(state)
            for state in self._core.accounts(user)
            if state.spec.visible or not only_active
        ]
        return envelope(accounts=found)

    def contracts(self, body: Body) -> Json:
        """`Contract/available`: front contracts; the live subscription's list is empty here."""
        if body.get("live") is True:
            return envelope(contracts=[])
        return envelope(contracts=[render.contract(row) for row in self._rows() if row.active])

    def search_contracts(self, body: Body) -> Json:
        """`Contract/search` by id, name or description."""
        wanted = text(body, "searchText").upper()
        found = [
            render.contract(row)
            for row in self._rows()
            if wanted in row.id or wanted in row.name or wanted in row.description.upper()
        ]
        return envelope(contracts=[] if body.get("live") is True else found[:SEARCH_ROWS_MAX])

    def contract(self, body: Body) -> Json:
        """`Contract/searchById`."""
        wanted = text(body, "contractId")
        row = next((row for row in self._rows() if row.id == wanted), None)
        return envelope(1, contract=None) if row is None else envelope(contract=render.contract(row))

    # -- orders ----------------------------------------------------------------------------------------

    def open_orders(self, body: Body, now_ns: int) -> Json:
        """`Order/searchOpen`: status 1 only; suspended children and pending entries do not show."""
        orders = self._orders(body, now_ns, lambda state: state.status == "working")
        return envelope(1, orders=None) if orders is None else envelope(orders=orders)

    def order_history(self, body: Body, now_ns: int) -> Json:
        """`Order/search`: by creation time, every status but suspended."""
        since_ns, until_ns = _window(body)

        def wanted(state: OrderState) -> bool:
            return state.status != "suspended" and since_ns <= state.created_ns <= until_ns

        orders = self._orders(body, now_ns, wanted)
        return envelope(1, orders=None) if orders is None else envelope(orders=orders[::-1])

    def order(self, body: Body, now_ns: int) -> Json:
        """`Order/searchById`."""
        order_id = integer(body, "orderId")
        orders = self._orders(body, now_ns, lambda state: state.order_id == order_id)
        return envelope(order=orders[0]) if orders else envelope(1, order=None)

    def query_orders(self, body: Body, now_ns: int) -> Json:
        """`Order/v2/query`: the only view that shows suspended children."""
        chosen = body.get("filter")
        if not isinstance(chosen, Mapping):
            raise BadBody("The filter field is required.")
        filters: Body = chosen  # pyright: ignore[reportUnknownVariableType]
        statuses, contract_id = filters.get("statuses"), filters.get("contractId")
        after_ns, before_ns = _at(filters, "createdAfter", 0), _at(filters, "createdBefore", 2**63)

        def wanted(state: OrderState) -> bool:
            row = self.rows().get(state.symbol)
            return (
                (not isinstance(statuses, list) or render.STATUS[state.status] in statuses)
                and (contract_id is None or (row is not None and row.id == contract_id))
                and after_ns <= state.created_ns <= before_ns
            )

        orders = self._orders(filters, now_ns, wanted)
        if orders is None:
            return envelope(1, orders=None, totalCount=0)
        if body.get("sortDirection") == 1:
            orders.reverse()
        size = min(integer(body, "pageSize", optional=True) or 100, PAGE_SIZE_MAX)
        start = integer(body, "pageOffset", optional=True) * size
        return envelope(orders=orders[start : start + size], totalCount=len(orders))

    def _orders(self, body: Body, now_ns: int, wanted: Callable[[OrderState], bool]) -> list[Json] | None:
        account_id = integer(body, "accountId")
        if self._core.account(account_id) is None:
            return None
        rows = self.rows()
        states = self._core.orders(account_id, until_ns=self._until(now_ns))
        return [
            render.order(state, rows[state.symbol], self._linked(state), hub=False)
            for state in states
            if wanted(state)
        ]

    # -- positions and trades ----------------------------------------------------------------------------

    def positions(self, body: Body) -> Json:
        """`Position/searchOpen`: flat means no row."""
        account_id = integer(body, "accountId")
        if self._core.account(account_id) is None:
            return envelope(1, positions=None)
        rows = self.rows()
        held = self._core.positions(account_id)
        return envelope(
            positions=[render.position(state, rows[state.symbol], state.avg_px, hub=False) for state in held]
        )

    def trades(self, body: Body, now_ns: int) -> Json:
        """`Trade/search`: half-turns, newest first."""
        account_id = integer(body, "accountId")
        if self._core.account(account_id) is None:
            return envelope(1, trades=None)
        since_ns, until_ns = _window(body)
        rows = self.rows()
        fills: tuple[Execution, ...] = self._core.executions(account_id, until_ns=self._until(now_ns))
        found = [
            render.trade(fill, rows[fill.symbol], voided=False, hub=False)
            for fill in reversed(fills)
            if since_ns <= fill.ts_ns <= until_ns
        ]
        return envelope(trades=found)

    def _until(self, now_ns: int) -> int | None:
        lag_ms = self._core.settings.list_visibility_lag_ms
        return now_ns - lag_ms * _NS_PER_MS if lag_ms else None


def _window(body: Body) -> tuple[int, int]:
    if body.get("startTimestamp") is None:
        raise BadBody("The startTimestamp field is required.")
    return _at(body, "startTimestamp", 0), _at(body, "endTimestamp", 2**63)


def _at(body: Body, key: str, otherwise_ns: int) -> int:
    value = body.get(key)
    if value is None:
        return otherwise_ns
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise BadBody(f"The {key} field takes an ISO 8601 time.") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * _NS_PER_US
