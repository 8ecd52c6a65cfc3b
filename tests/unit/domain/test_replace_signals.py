"""What a replace must bring."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kopitra.domain.errors import SignalRefused
from kopitra.domain.signals import Signal, StopLoss, TakeProfit, check_signal

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MOVE = {
    "workspace": "w", "leader": "l", "signal_id": "s", "source": "ea", "action": "replace", "symbol": "ES",
    "occurred_at": NOW, "received_at": NOW, "leader_order_id": "o",
}  # fmt: skip


@pytest.mark.parametrize(
    "moved",
    [
        {"price": Decimal(1)},
        {"stop_price": Decimal(1)},
        {"trail_offset": Decimal(1)},
        {"quantity": Decimal(1)},
        {"stop_loss": StopLoss(price=Decimal(1))},
        {"take_profits": (TakeProfit(price=Decimal(1)),)},
    ],
)
def test_a_replace_may_move_an_order_or_the_stop_or_target_of_a_position(moved: dict[str, object]) -> None:
    check_signal(Signal(**MOVE, **moved))  # pyright: ignore[reportArgumentType]


def test_a_replace_that_moves_nothing_is_refused() -> None:
    with pytest.raises(SignalRefused, match="stopLoss"):
        check_signal(Signal(**MOVE))  # pyright: ignore[reportArgumentType]
