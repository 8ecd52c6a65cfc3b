"""Core events as the vendor's entity events: command, version, order, reports, fill, position, cash."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, assert_never

from brokers._kit.matching import (
    AccountChanged,
    AccountState,
    BalanceChanged,
    CoreEvent,
    Execution,
    ExecutionBusted,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    OrderState,
    OrderWorking,
    PositionChanged,
    RequestRefused,
)
from brokers.tradovate.simulator import render
from brokers.tradovate.simulator.tables import Change, Row, Tables
from brokers.tradovate.simulator.words import reason_word

FIRST_COMMAND_ID: Final = 2**32 + 2_000_000_001
FIRST_REPORT_ID: Final = 2**32 + 3_000_000_001
POSITION_BASE: Final = 2**32 + 4_000_000_000
BALANCE_BASE: Final = 2**33
_TIMES: Final = {"day": "Day", "gtc": "GTC", "ioc": "IOC", "fok": "FOK"}


class Feed:
    """Turns what the core did into changed rows. One call is one command of a client."""

    def __init__(
        self,
        tables: Tables,
        contract_ids: Mapping[str, int],
        user_ids: Mapping[str, int],
        realized_start: Mapping[int, Decimal],
    ) -> None:
        """`realized_start`: the day's realised profit that an account begins with."""
        self._tables = tables
        self._contract_ids = contract_ids
        self._user_ids = user_ids
        self._realized_start = realized_start
        self._next_command_id = FIRST_COMMAND_ID
        self._next_report_id = FIRST_REPORT_ID
        self._commands: dict[int, int] = {}  # order -> its newest command
        self._begun: dict[int, int] = {}  # order -> a cancel or modify that is being carried out
        self._expiries: dict[str, str] = {}  # client id of a GTD order -> its expireTime
        self._out: list[Change] = []
        self._at = ""
        self._now_ns = 0

    def begin(self, state: OrderState, kind: str, now_ns: int) -> tuple[int, list[Change]]:
        """A Cancel or Modify command of a client: its id, and the row."""
        self._start(now_ns)
        command_id = self._command(state, kind, None)
        self._begun[state.order_id] = command_id
        return command_id, self._out

    def note_expiry(self, cl_ord_id: str, expire_time: str) -> None:
        """A GTD order is about to be placed; the core knows no such time in force."""
        self._expiries[cl_ord_id] = expire_time

    def changes(self, events: Iterable[CoreEvent], now_ns: int) -> list[Change]:
        """The changed rows of a command, in the order of the vendor's flow."""
        self._start(now_ns)
        for event in events:
            self._turn(event)
        self._begun.clear()
        return self._out

    def show_account(self, state: AccountState, now_ns: int) -> None:
        """The rows of an account at the start."""
        self._start(now_ns)
        self._account(state)
        self._balance(state)

    # -- one event -------------------------------------------------------------------------------------

    def _turn(self, event: CoreEvent) -> None:
        match event:
            case ExecutionBusted(order, execution):
                self._put(render.fill(execution, self._contract_ids[order.symbol], self._at, self._now_ns))
                self._execution(order, "TradeCancel", fill=execution)
            case PositionChanged(position):
                contract_id = self._contract_ids[position.symbol]
                self._put(render.position(position, contract_id, self._at, POSITION_BASE))
            case BalanceChanged(account):
                self._balance(account)
            case AccountChanged(account):
                self._account(account)
            case RequestRefused():
                pass  # the answer tells it
            case _:
                self._turn_order(event)

    def _turn_order(self, event: OrderEvent) -> None:
        match event:
            case OrderAccepted(order):
                self._accepted(order)
            case OrderWorking(order):
                self._order(order)
                self._execution(order, "New")
            case OrderFilled(order, execution):
                self._filled(order, execution)
            case OrderReplaced(order, cause):
                self._replaced(order, cause)
            case OrderCanceled(order, cause):
                self._canceled(order, cause)
            case OrderExpired(order):
                self._order(order)
                self._execution(order, "Expired")
            case OrderRejected():
                self._rejected(event)
            case _:
                assert_never(event)

    def _accepted(self, state: OrderState) -> None:
        command_id = self._command(state, "New", state.cl_ord_id)
        self._version(state, command_id)
        self._order(state)
        self._report(state, command_id, "RiskPassed")
        self._report(state, command_id, "AtExecution")

    def _filled(self, state: OrderState, execution: Execution) -> None:
        self._execution(state, "Trade", fill=execution)
        self._put(render.fill(execution, self._contract_ids[state.symbol], self._at, self._now_ns))
        self._order(state)

    def _replaced(self, state: OrderState, cause: str) -> None:
        if cause in ("trail", "trigger"):
            return  # what the vendor shows of a moving trailing stop is not documented
        command_id = self._begun.pop(state.order_id, None) or self._command(state, "Modify", None)
        self._version(state, command_id)
        self._report(state, command_id, "AtExecution")
        self._order(state)
        if state.status != "suspended":
            self._execution(state, "Replaced", command_id=command_id)

    def _canceled(self, state: OrderState, cause: str) -> None:
        command_id = self._begun.pop(state.order_id, None)
        if command_id is None and cause != "parent":
            command_id = self._command(state, "Cancel", None)
        if command_id is not None:
            self._report(state, command_id, "AtExecution")
        self._order(state)
        self._execution(state, "Canceled", command_id=command_id)

    def _rejected(self, event: OrderRejected) -> None:
        if not event.late:
            return  # the answer tells it, no entity is made
        refusal = reason_word(event.reason, event.text)
        command_id = self._commands[event.order.order_id]
        self._report(event.order, command_id, "ExecutionRejected", refusal)
        self._order(event.order)
        self._execution(event.order, "Rejected", refusal=refusal)

    # -- rows ------------------------------------------------------------------------------------------

    def _start(self, now_ns: int) -> None:
        self._out, self._at, self._now_ns = [], render.stamp(now_ns), now_ns

    def _put(self, row: Row) -> None:
        self._out.append(self._tables.put(row))

    def _command(self, state: OrderState, kind: str, cl_ord_id: str | None) -> int:
        command_id = self._next_command_id
        self._next_command_id += 1
        self._commands[state.order_id] = command_id
        self._put(render.command(command_id, state, kind, "Pending", self._at, cl_ord_id, self._now_ns))
        return command_id

    def _version(self, state: OrderState, version_id: int) -> None:
        expiry = self._expiries.get(state.cl_ord_id or "")
        time_in_force = "GTD" if expiry else _TIMES[state.time_in_force]
        self._put(render.version(state, version_id, time_in_force, expiry, self._now_ns))

    def _order(self, state: OrderState) -> None:
        self._put(render.order(state, self._contract_ids[state.symbol], self._now_ns))

    def _report(
        self, state: OrderState, command_id: int, status: str, refusal: tuple[str, str] | None = None
    ) -> None:
        report_id = self._report_id()
        self._put(render.command_report(report_id, command_id, state.account_id, status, self._at, refusal))

    def _execution(
        self,
        state: OrderState,
        exec_type: str,
        *,
        command_id: int | None = None,
        fill: Execution | None = None,
        refusal: tuple[str, str] | None = None,
    ) -> None:
        contract_id = self._contract_ids[state.symbol]
        of_command = command_id or self._commands[state.order_id]
        report_id = self._report_id()
        self._put(
            render.execution_report(
                report_id, of_command, state, contract_id, exec_type, self._at, fill, refusal
            )
        )

    def _report_id(self) -> int:
        self._next_report_id += 1
        return self._next_report_id - 1

    def _account(self, state: AccountState) -> None:
        self._put(render.account(state, self._user_ids[state.spec.login], self._at))

    def _balance(self, state: AccountState) -> None:
        start = self._realized_start.get(state.account_id, Decimal(0))
        realized = start + state.realized_pnl - state.fees
        self._put(render.cash_balance(state, realized, self._at, BALANCE_BASE))
