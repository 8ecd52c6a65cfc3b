"""Core events to user hub events, in the order of the live captures.

A bracket entry shows its suspended children first, then itself; a market order goes from pending to filled
without ever being open; a position that closes is action 2 with type 0 and size 0 and keeps its last average.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from brokers._kit.matching import (
    AccountChanged,
    BalanceChanged,
    CoreEvent,
    ExecutionBusted,
    OrderAccepted,
    OrderFilled,
    OrderState,
    OrderWorking,
    PositionChanged,
    PositionState,
    RequestRefused,
)
from brokers.projectx.simulator import render
from brokers.projectx.simulator.contracts import Row
from brokers.projectx.simulator.render import Json

_CHANGED, _CLOSED, _TRADED = 1, 2, 0  #: `action` of orders and open positions, closed positions, trades


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One event for the subscribers of one account."""

    account_id: int
    target: str
    action: int
    data: Json


class Feed:
    """Renders events; remembers the last average of each position for its closing event."""

    def __init__(
        self, rows: Callable[[], Mapping[str, Row]], linked: Callable[[OrderState], int | None]
    ) -> None:
        self._rows = rows
        self._linked = linked
        self._averages: dict[int, Decimal] = {}  # by position id: one per account and contract

    def render(self, events: Iterable[CoreEvent]) -> list[HubEvent]:
        """Hub events of one command."""
        out: list[HubEvent] = []
        for event in _children_first(list(events)):
            out += self._one(event)
        return out

    def _one(self, event: CoreEvent) -> list[HubEvent]:
        if isinstance(event, RequestRefused):
            return []
        if isinstance(event, PositionChanged):
            return [self._position(event.position)]
        if isinstance(event, (BalanceChanged, AccountChanged)):
            state = event.account
            return [HubEvent(state.account_id, "GatewayUserAccount", _CHANGED, render.account(state))]
        if isinstance(event, OrderWorking) and event.order.ord_type == "market":
            return []
        if isinstance(event, ExecutionBusted):
            return [self._trade(event)]
        told = [self._order(event.order)]
        if isinstance(event, OrderFilled):
            told.append(self._trade(event))
        return told

    def _order(self, state: OrderState) -> HubEvent:
        row = self._rows()[state.symbol]
        data = render.order(state, row, self._linked(state), hub=True)
        return HubEvent(state.account_id, "GatewayUserOrder", _CHANGED, data)

    def _trade(self, event: OrderFilled | ExecutionBusted) -> HubEvent:
        fill = event.execution
        data = render.trade(
            fill, self._rows()[fill.symbol], voided=isinstance(event, ExecutionBusted), hub=True
        )
        return HubEvent(fill.account_id, "GatewayUserTrade", _TRADED, data)

    def _position(self, state: PositionState) -> HubEvent:
        if state.avg_px is not None:
            self._averages[state.position_id] = state.avg_px
        data = render.position(
            state, self._rows()[state.symbol], self._averages.get(state.position_id), hub=True
        )
        action = _CHANGED if state.net_qty else _CLOSED
        return HubEvent(state.account_id, "GatewayUserPosition", action, data)


def _children_first(events: list[CoreEvent]) -> list[CoreEvent]:
    # The core names the parent first; the firm's hub shows its suspended children before it.
    if (
        len(events) < 2
        or not isinstance(events[0], OrderAccepted)
        or not isinstance(events[1], OrderAccepted)
    ):
        return events
    count = next((i for i, event in enumerate(events) if not isinstance(event, OrderAccepted)), len(events))
    return [*events[1:count], events[0], *events[count:]]
