"""Entity events off the socket: to the joiner or straight to the sink."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from brokers.tradovate import frames
from brokers.tradovate.accounts import Accounts
from brokers.tradovate.answers import Penalty, classify
from brokers.tradovate.entities import (
    CashBalance,
    Command,
    CommandReport,
    Contract,
    ExecReport,
    Fill,
    Order,
    OrderVersion,
    Position,
)
from brokers.tradovate.join import Joiner
from brokers.tradovate.link import Link
from brokers.tradovate.snapshot import balance_report
from brokers.tradovate.symbols import ContractBook
from brokers.tradovate.tracks import Missing
from kopitra.domain.errors import ProtocolViolation, SessionError, Throttled
from kopitra.domain.executions import PositionReport
from kopitra.ports import EventSink, ProtocolAlert

E = TypeVar("E")
Entity = bytes | msgspec.Raw
_SPELLED: Final = ("orderVersion", "commandReport", "executionReport", "cashBalance")
#: events that come before the snapshot is complete; one more ends the life, and the next takes a new snapshot
HELD_MAX: Final = 100_000
_PAYLOAD_MAX: Final = 500

#: endpoint and query name of a lookup
_LOOK_UPS: Final[dict[Missing, tuple[str, str, str]]] = {
    "order": ("order/item", "id", "order"),
    "command": ("command/deps", "masterid", "command"),
    "version": ("orderVersion/deps", "masterid", "orderversion"),
    "fills": ("fill/deps", "masterid", "fill"),
    "contract": ("contract/item", "id", "contract"),
}


class _Owned(msgspec.Struct, rename="camel"):
    account_id: int


_owned: Final = msgspec.json.Decoder(_Owned).decode


class Events:
    """The entity events of one login. Under `hold` they wait, so that the snapshot comes first."""

    def __init__(
        self, login_id: str, joiner: Joiner, accounts: Accounts, contracts: ContractBook, sink: EventSink
    ) -> None:
        self._login_id = login_id
        self._accounts = accounts
        self._contracts = contracts
        self._joiner = joiner
        self._sink = sink
        self._held: deque[tuple[str, bytes, int]] | None = deque(maxlen=HELD_MAX)
        self._handlers: dict[str, Callable[[Entity, int], None]] = {
            "order": _reading(Order, joiner.on_order),
            "orderversion": _reading(OrderVersion, joiner.on_version),
            "command": _reading(Command, joiner.on_command),
            "commandreport": _reading(CommandReport, joiner.on_command_report),
            "executionreport": self._execution_report(joiner),
            "fill": _reading(Fill, joiner.on_fill),
            "position": _reading(Position, self._on_position),
            "cashbalance": _reading(CashBalance, self._on_cash),
            "contract": _reading(Contract, self._on_contract),
        }
        # The vendor's own spelling finds its handler without a detour.
        self._handlers |= {word: self._handlers[word.lower()] for word in _SPELLED}

    def hold(self) -> None:
        """A new socket: keep what comes until `release`."""
        self._held = deque(maxlen=HELD_MAX)

    def release(self, now_ns: int) -> None:
        """The snapshot was taken in: apply what came meanwhile."""
        held, self._held = self._held, None
        for kind, entity, received_ns in held or ():
            self._apply(kind, entity, received_ns)

    def on_props(self, payload: msgspec.Raw, now_ns: int) -> None:
        """One `props` event."""
        try:
            props = frames.one_props(payload)
        except msgspec.DecodeError:
            self._on_array(payload, now_ns)
            return
        handler = self._handlers.get(props.entity_type)
        if handler is None:
            handler = self._handlers.get(props.entity_type.lower())
            if handler is None:
                return
        if self._held is not None or props.event_type == "Deleted":
            self._on_array(payload, now_ns)
            return
        try:
            handler(props.entity, now_ns)
        except (msgspec.DecodeError, ProtocolViolation) as error:
            if bytes(props.entity)[:1] == b"[":
                self._on_array(payload, now_ns)
            else:
                self._alert(f"{props.entity_type}: {error}", bytes(props.entity))

    def _on_array(self, payload: msgspec.Raw, now_ns: int) -> None:
        """The slow way: arrays of events or entities, and whatever comes before the snapshot is complete."""
        try:
            events = frames.parse_props(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._alert(f"an event does not parse: {error}", bytes(payload))
            return
        for props, entity in events:
            kind = props.entity_type.lower()
            if kind not in self._handlers or props.event_type == "Deleted":
                continue
            if self._held is None:
                self._apply(kind, entity, now_ns)
            elif len(self._held) >= HELD_MAX:
                raise ProtocolViolation("more events than fit before the snapshot was complete")
            else:
                self._held.append((kind, entity, now_ns))

    def _apply(self, kind: str, entity: bytes, now_ns: int) -> bool:
        """False: it does not read, which is told."""
        try:
            self._handlers[kind](entity, now_ns)
        except (msgspec.DecodeError, UnicodeDecodeError, ProtocolViolation) as error:
            self._alert(f"{kind}: {error}", entity)
            return False
        return True

    async def look_up(self, link: Link, missing: Missing, key: int, clock_ns: Callable[[], int]) -> None:
        """Ask for an entity that did not come by itself; raises Throttled."""
        endpoint, name, kind = _LOOK_UPS[missing]
        try:
            answer = await link.ask(endpoint, query=f"{name}={key}")
        except Throttled:
            raise
        except (SessionError, TimeoutError):
            return  # the joiner tells what stays unexplained
        verdict = classify(200, answer) if b'"p-t' in answer[:200] else None
        if isinstance(verdict, Penalty):
            raise Throttled(
                f"{endpoint} was answered with a penalty ticket", retry_after_s=max(verdict.wait_s, 1.0)
            )
        read = [self._apply(kind, entity, clock_ns()) for entity in frames.one_or_many(answer)]
        # An order has a command at least: a list without one lags.
        if missing == "command" and answer[:1] == b"[" and read and all(read):
            self._joiner.proved(key)

    def _execution_report(self, joiner: Joiner) -> Callable[[Entity, int], None]:
        read = _reading(ExecReport, joiner.on_execution_report)

        def take(entity: Entity, now_ns: int) -> None:
            raw = bytes(entity)
            if b'"Replaced"' in raw or b'"Rejected"' in raw or raw[:1] == b"[":
                read(raw, now_ns)  # the other kinds say nothing that fills and orders do not say

        return take

    def _on_position(self, row: Position, now_ns: int) -> None:
        account_id, symbol = self._accounts.ours.get(row.account_id), self._contracts.name(row.contract_id)
        if account_id is not None and symbol is not None:
            self._sink(PositionReport(account_id, symbol, Decimal(row.net_pos), row.net_price, row.timestamp))

    def _on_cash(self, row: CashBalance, now_ns: int) -> None:
        account_id = self._accounts.ours.get(row.account_id)
        if account_id is not None:
            self._sink(balance_report(row, account_id))

    def _on_contract(self, contract: Contract, now_ns: int) -> None:
        self._contracts.learn([contract])
        self._joiner.recheck(now_ns)

    def _alert(self, text: str, payload: bytes) -> None:
        shown = payload[:_PAYLOAD_MAX].decode(errors="replace")
        account_id = self._owner(payload) if text.startswith("order:") else None
        self._sink(ProtocolAlert(self._login_id, account_id, text, shown, unmodelled=account_id is not None))

    def _owner(self, payload: bytes) -> str | None:
        """Whose order it is whose words we do not know: that account stops, the others of the login go on."""
        try:
            return self._accounts.ours.get(_owned(payload).account_id)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def _reading(shape: type[E], use: Callable[[E, int], None]) -> Callable[[Entity, int], None]:
    decode = msgspec.json.Decoder(shape).decode

    def read(entity: Entity, now_ns: int) -> None:
        use(decode(entity), now_ns)

    return read
