"""User hub events to domain reports: decoded once, reported in the order of the wire."""

from collections.abc import Callable
from typing import Final

import msgspec

from brokers.projectx.accounts import Account, AccountDirectory
from brokers.projectx.reading import AccountReader, Books
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.wire import WireTrade, read_account, read_order, read_position, read_trade
from kopitra.domain.errors import ProtocolViolation
from kopitra.ports import Clock, EventSink, ProtocolAlert

#: bytes of an event that are shown with an alert
_PAYLOAD_MAX: Final = 500


class UserEvents:
    """Takes events of the accounts we carry; other accounts of the login are none of our business."""

    def __init__(
        self,
        accounts: AccountDirectory,
        tracker: OrderTracker,
        reader: AccountReader,
        books: Books,
        clock: Clock,
        sink: EventSink,
        on_orphan: Callable[[Account, int], None],
    ) -> None:
        self._accounts = accounts
        self._tracker = tracker
        self._reader = reader
        self._books = books
        self._clock = clock
        self._sink = sink
        self._on_orphan = on_orphan
        self._handlers: dict[str, Callable[[msgspec.Raw, int], None]] = {
            "GatewayUserOrder": self._order,
            "GatewayUserTrade": self._trade,
            "GatewayUserPosition": self._position,
            "GatewayUserAccount": self._account,
        }

    def take(self, target: str, arguments: list[msgspec.Raw], received_ns: int) -> None:
        """One event. Raises ProtocolViolation for what does not parse; unknown targets are ignored."""
        handler = self._handlers.get(target)
        if handler is None:
            return
        if not arguments:
            raise ProtocolViolation(f"{target} came without arguments")
        handler(arguments[0], received_ns)

    def _order(self, raw: msgspec.Raw, received_ns: int) -> None:
        wire = read_order(raw)
        account = self._accounts.theirs(wire.account_id)
        if account is None:
            return
        try:
            for report in self._tracker.order(wire, account.account_id, self._clock.now(), received_ns):
                self._sink(report)
        except ProtocolViolation as error:
            # Its number parsed and its words do not: what this account's orders do next is anybody's guess.
            shown = bytes(raw)[:_PAYLOAD_MAX].decode(errors="replace")
            self._sink(ProtocolAlert("", account.account_id, error.message, shown, unmodelled=True))

    def _trade(self, raw: msgspec.Raw, received_ns: int) -> None:
        wire: WireTrade = read_trade(raw)
        account = self._accounts.theirs(wire.account_id)
        if account is None:
            return
        told = self._tracker.trade(wire, account.account_id, received_ns)
        if isinstance(told, int):
            self._on_orphan(account, told)
        elif told is not None:
            self._sink(told)

    def _position(self, raw: msgspec.Raw, received_ns: int) -> None:
        wire = read_position(raw)
        account = self._accounts.theirs(wire.account_id)
        if account is None:
            return
        report = self._reader.position(wire, account.account_id)
        self._books.position(report)
        self._sink(report)

    def _account(self, raw: msgspec.Raw, received_ns: int) -> None:
        wire = read_account(raw)
        account = self._accounts.theirs(wire.id)
        if account is None:
            return
        report = self._books.balance(account.account_id, wire, self._clock.now(), received_ns)
        if report is not None:
            self._sink(report)
