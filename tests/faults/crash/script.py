"""What an EA, an operator and a person at a broker's screen do in each scene, and how rude the brokers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tests.faults.crash.points import Scene

#: a leader that nobody follows: its switch stops nothing
OTHER: Final = "other"
Deed = Literal["warm up", "prices rise", "hand closes", "repair", "database away", "hand over"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the script."""

    path: str
    body: Mapping[str, object]

    @property
    def is_signal(self) -> bool:
        """Of the EA; else of an operator."""
        return self.path.endswith("/signals")


def signal(**body: object) -> Request:
    """An act of the leader."""
    return Request("/trade-agent/v1/signals", {"symbol": "ES", **body})


ENTER: Final = signal(action="enter", side="buy", quantity=1)
ADD: Final = signal(action="add", side="buy", quantity=1)
REDUCE: Final = signal(action="reduce", quantity=1)
EXIT: Final = signal(action="exit")
FLATTEN: Final = Request(
    "/ops/v1/flatten", {"scope": "account", "scopeId": "b", "reason": "drill", "halt": False}
)
STOP_OTHER: Final = Request(
    "/ops/v1/kill-switches", {"scope": "leader", "scopeId": OTHER, "state": "halted", "reason": "drill"}
)
#: contracts that followers hold when a person closes one of them by hand
DRIFT_QTY: Final = 3

#: an EA's morning: every kind of act, and an operator beside it
_PLAIN: Final = (
    signal(action="enter", side="buy", quantity=2, stopLoss={"offset": "20"}, takeProfits=[{"offset": "30"}]),
    ADD,
    signal(action="enter", side="buy", quantity=1, ordType="limit", price="6700", leaderOrderId="L1"),
    signal(action="replace", leaderOrderId="L1", price="6701"),
    signal(action="cancel", leaderOrderId="L1"),
    REDUCE,
    STOP_OTHER,
    signal(action="enter", side="buy", quantity=1, ordType="limit", price="6690", leaderOrderId="L2"),
    FLATTEN,
    EXIT,
)
SCRIPTS: Final[Mapping[Scene, tuple[Request | Deed, ...]]] = {
    "plain": _PLAIN,
    "marked": ("warm up", "prices rise", ADD, "prices rise", EXIT),
    "drift": (
        "warm up",
        signal(action="add", side="buy", quantity=DRIFT_QTY - 1),
        "hand closes",
        "repair",
        EXIT,
    ),
    "dark": ("warm up", "database away", FLATTEN, ADD, EXIT),
    "standby": (ENTER, ADD, ADD, REDUCE, "hand over", ADD, REDUCE, EXIT),
    "holder": (ENTER, ADD, ADD, REDUCE, "hand over", ADD, REDUCE, EXIT),
}
#: by seed: how the brokers answer until the morning is over (T-23: each point with each of them)
RUDE: Final[tuple[Mapping[str, object], ...]] = (
    {},
    {"ack_delay_ms": 40, "event_delay_ms": 80, "duplicate_event_ratio": 0.3},
    {"drop_answer_ratio": 0.1, "reorder_event_ratio": 0.2},
    {"partial_fill_slices": 2, "fill_delay_ms": 30, "drop_event_ratio": 0.1},
    {"answer_500_after_execute_ratio": 0.1, "list_visibility_lag_ms": 300, "event_delay_ms": 200},
)
POLITE: Final[Mapping[str, object]] = {
    "ack_delay_ms": 0,
    "event_delay_ms": 0,
    "duplicate_event_ratio": 0.0,
    "drop_answer_ratio": 0.0,
    "reorder_event_ratio": 0.0,
    "partial_fill_slices": 1,
    "fill_delay_ms": 0,
    "drop_event_ratio": 0.0,
    "answer_500_after_execute_ratio": 0.0,
    "list_visibility_lag_ms": 0,
}
