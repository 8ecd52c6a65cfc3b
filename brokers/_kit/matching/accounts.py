"""Cash and net positions of the simulated accounts, folded from executions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from brokers._kit.matching.events import AccountSpec, AccountState, Execution, PositionState
from brokers._kit.matching.prices import ZERO, Instrument

#: cost of a partial close is kept to this step; the remainder stays with the open part, so no cent is lost
COST_STEP = Decimal("1e-10")


@dataclass(slots=True, eq=False)
class Position:
    """Net position. ``cost`` is the sum of price x quantity of the open contracts, quantity unsigned."""

    position_id: int
    account_id: int
    symbol: str
    net_qty: int = 0
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    bought_qty: int = 0
    bought_value: Decimal = ZERO
    sold_qty: int = 0
    sold_value: Decimal = ZERO
    opened_ns: int = 0
    updated_ns: int = 0

    def apply(
        self, buys: bool, qty: int, price: Decimal, point_value: Decimal, now_ns: int
    ) -> Decimal | None:
        """Fold one fill; the realised P&L in money, or None when nothing was closed."""
        value = price * qty
        if buys:
            self.bought_qty += qty
            self.bought_value += value
        else:
            self.sold_qty += qty
            self.sold_value += value
        self.updated_ns = now_ns
        net_qty = self.net_qty
        self.net_qty = net_qty + qty if buys else net_qty - qty
        if net_qty == 0:
            self.opened_ns = now_ns
        if net_qty == 0 or (net_qty > 0) == buys:
            self.cost += value
            return None
        return self._close(net_qty, qty, price, point_value, now_ns)

    def _close(self, net_qty: int, qty: int, price: Decimal, point_value: Decimal, now_ns: int) -> Decimal:
        held = abs(net_qty)
        closed = min(qty, held)
        cost = self.cost if closed == held else (self.cost * closed / held).quantize(COST_STEP)
        points = price * closed - cost if net_qty > 0 else cost - price * closed
        self.cost -= cost
        if qty > held:
            self.cost = price * (qty - held)
            self.opened_ns = now_ns
        realized = (points * point_value).normalize() + ZERO
        self.realized_pnl += realized
        return realized

    def snapshot(self) -> PositionState:
        return PositionState(
            self.position_id,
            self.account_id,
            self.symbol,
            self.net_qty,
            self.cost / abs(self.net_qty) if self.net_qty else None,
            self.realized_pnl,
            self.bought_qty,
            self.bought_value,
            self.sold_qty,
            self.sold_value,
            self.opened_ns,
            self.updated_ns,
        )


@dataclass(slots=True, eq=False)
class Account:
    """Cash of one account and its positions by symbol."""

    spec: AccountSpec
    realized_pnl: Decimal
    fees: Decimal
    positions: dict[str, Position]
    #: client ids ever used, rejected orders included
    tags: set[str]
    updated_ns: int = 0

    def snapshot(self) -> AccountState:
        balance = self.spec.balance + self.realized_pnl - self.fees
        return AccountState(self.spec, balance, self.realized_pnl, self.fees, self.updated_ns)

    def net_qty(self, symbol: str) -> int:
        held = self.positions.get(symbol)
        return held.net_qty if held else 0


class Books:
    """All accounts of one simulator."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self._next_position_id = 1

    def add(self, spec: AccountSpec) -> None:
        if spec.account_id in self.accounts:
            raise ValueError(f"account {spec.account_id} exists; give each account its own id")
        self.accounts[spec.account_id] = Account(spec, ZERO, ZERO, {}, set())

    def position(self, account: Account, symbol: str) -> Position:
        """The account's position in a symbol, made flat when it does not exist yet."""
        held = account.positions.get(symbol)
        if held is None:
            held = account.positions[symbol] = Position(
                self._next_position_id, account.spec.account_id, symbol
            )
            self._next_position_id += 1
        return held

    def refold(
        self, account: Account, instrument: Instrument, fills: Iterable[Execution], now_ns: int
    ) -> Position:
        """Rebuild a position from its valid fills (after a bust) and move the cash by the difference."""
        held = self.position(account, instrument.symbol)
        fresh = Position(held.position_id, held.account_id, held.symbol)
        for fill in fills:
            fresh.apply(fill.side == "buy", fill.qty, fill.price, instrument.point_value, fill.ts_ns)
        fresh.updated_ns = account.updated_ns = now_ns
        account.realized_pnl += fresh.realized_pnl - held.realized_pnl
        account.positions[instrument.symbol] = fresh
        return fresh


def changed_spec(spec: AccountSpec, *, can_trade: bool | None, liquidation_only: bool | None) -> AccountSpec:
    """The spec with the given flags changed; None keeps a flag."""
    return replace(
        spec,
        can_trade=spec.can_trade if can_trade is None else can_trade,
        liquidation_only=spec.liquidation_only if liquidation_only is None else liquidation_only,
    )
