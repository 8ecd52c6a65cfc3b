"""The demo as data: twenty followers, one leader, and what is played.

Nothing here names a broker: followers stand at the first or the second of the two that take part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

WORKSPACE: Final = "demo"
LEADER: Final = "lead"
LEADER_ACCOUNT: Final = "boss"
#: what X-TradeAgent-Account says for the EA
EA_ACCOUNT: Final = "50K-LEAD"
LEADER_EQUITY: Final = Decimal(100_000)
ROOT: Final = "ES"
#: prices at both brokers; round numbers, so that the arithmetic can be followed
BID: Final = Decimal("6800")
ASK: Final = Decimal("6800.25")
#: dollars per point
POINT_VALUES: Final[Mapping[str, Decimal]] = {"ES": Decimal(50), "MES": Decimal(5)}

#: 0 the first broker, 1 the second
Slot = Literal[0, 1]
Kind = Literal["entry", "rest", "move", "reduce", "cancel", "reverse", "flat"]


@dataclass(frozen=True, slots=True)
class FollowerSpec:
    """One follower. `rule` are fields as `kopitra rule create --set` takes them."""

    account: str
    slot: Slot
    rule: Mapping[str, str]
    equity: Decimal = Decimal(50_000)
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    #: switches of the simulated account, such as the day's result that it begins with
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    #: its limit is used up: no entry passes the risk check
    used_up: bool = False


def _rule(sizing: str, **more: str) -> dict[str, str]:
    mode, _, value = sizing.partition(":")
    return {"sizing.mode": mode, "sizing.value": value, **more}


_K: Final = Decimal(1_000)
FOLLOWERS: Final = (
    FollowerSpec("f01", 0, _rule("fixed:1")),
    FollowerSpec("f02", 0, _rule("fixed:3")),
    FollowerSpec("f03", 0, _rule("multiplier:1")),
    FollowerSpec("f04", 0, _rule("multiplier:2"), 150 * _K),
    FollowerSpec("f05", 0, _rule("equity_proportional:1"), 60 * _K),
    FollowerSpec("f06", 0, _rule("percent_of_equity:850"), 100 * _K),
    FollowerSpec("f07", 0, _rule("risk_from_stop:2"), 60 * _K),
    FollowerSpec("f08", 0, _rule("multiplier:1", inverse="true")),
    FollowerSpec("f09", 0, _rule("multiplier:1", symbol_map="ES:MES:5")),
    FollowerSpec("f10", 0, _rule("multiplier:1", pace="close_only")),
    FollowerSpec("f11", 1, _rule("multiplier:1", pace="paused")),
    FollowerSpec(
        "f12", 1, _rule("multiplier:1"), 50 * _K, {"daily_loss": "1000"}, {"realized_day": "-1250"}, used_up=True
    ),
    FollowerSpec("f13", 1, {**_rule("multiplier:0.5"), "rounding.mode": "half_up"}),
    FollowerSpec("f14", 1, _rule("multiplier:1", side_filter="long")),
    FollowerSpec("f15", 1, _rule("fixed:2")),
    FollowerSpec("f16", 1, _rule("multiplier:1", mirror="fills")),
    FollowerSpec("f17", 1, _rule("multiplier:3", max_position="4"), 150 * _K),
    FollowerSpec("f18", 1, _rule("multiplier:0.25", symbol_map="ES:MES:10")),
    FollowerSpec("f19", 1, _rule("multiplier:1", copy_stop_loss="false")),
    FollowerSpec("f20", 1, _rule("equity_proportional:1"), 160 * _K),
)  # fmt: skip
#: accounts that share a login: brokers count requests and connections per login
ACCOUNTS_PER_LOGIN: Final = 2


@dataclass(frozen=True, slots=True)
class Act:
    """One signal that a step makes, as followers must understand it. `before` and `after` are the leader's signed
    contracts; `resting` names the leader's order that is rested, moved or canceled.
    """

    kind: Kind
    before: int
    after: int
    #: points between price and stop; None: the signal carries none
    stop_distance: Decimal | None = None
    resting: Literal["", "stop", "target"] = ""
    #: price of the resting order, after this act
    price: Decimal | None = None
    #: stop and target that the signal itself carries
    protection: tuple[Decimal, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A TradingView alert: contracts and position before and after the order."""

    side: Literal["buy", "sell"]
    contracts: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class EaSignal:
    """An EA's JSON, with all headers, sent `times` with the same Idempotency-Key."""

    body: Mapping[str, object]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Hand:
    """The leader's own hand at its broker. `bracket`: stop and target that go with the order."""

    does: Literal["order", "move_stop", "close", "cancel_stop", "cancel_target"]
    side: Literal["buy", "sell"] = "buy"
    qty: int = 0
    bracket: tuple[Decimal, Decimal] | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What is played, and the signals that must come of it."""

    title: str
    play: Alert | EaSignal | Hand
    acts: tuple[Act, ...]


_STOP, _TARGET = Decimal(6790), Decimal(6820)
_EA_STOP, _EA_TARGET = Decimal(6810), Decimal(6780)


def _moved(price: str) -> Step:
    act = Act("move", 3, 3, resting="stop", price=Decimal(price))
    return Step(f"leader moves the stop to {price}", Hand("move_stop", price=Decimal(price)), (act,))


STEPS: Final = (
    Step(
        "TradingView alert: long 2",
        Alert("buy", 2, 0, 2),
        # nothing has traded yet and the alert's order carries no price: who sizes by value takes a broker's quote
        (Act("entry", 0, 2),),
    ),
    Step("TradingView alert: flat", Alert("sell", 2, 2, 0), (Act("flat", 2, 0),)),
    Step(
        "EA: short 2 with stop and target, sent twice",
        EaSignal(
            {
                "signalId": "ea-0001",
                "action": "enter",
                "symbol": "ES",
                "side": "sell",
                "quantity": 2,
                "price": "6800",
                "stopLoss": {"price": str(_EA_STOP)},
                "takeProfits": [{"price": str(_EA_TARGET)}],
                "leaderOrderId": "184467",
                "leaderPosition": -2,
                "strategy": "opening drive",
            },
            times=2,
        ),
        (Act("entry", 0, -2, stop_distance=Decimal(10), protection=(_EA_STOP, _EA_TARGET)),),
    ),
    Step(
        "EA: flat",
        EaSignal({"signalId": "ea-0002", "action": "exit", "symbol": "ES", "leaderPosition": 0}),
        (Act("flat", -2, 0),),
    ),
    Step(
        "leader buys 3 with a bracket",
        Hand("order", "buy", 3, bracket=(_STOP, _TARGET)),
        (
            Act("entry", 0, 3),
            Act("rest", 3, 3, resting="stop", price=_STOP),
            Act("rest", 3, 3, resting="target", price=_TARGET),
        ),
    ),
    _moved("6792"),
    _moved("6794"),
    _moved("6796"),
    Step("leader takes 1 off", Hand("close", qty=1), (Act("reduce", 3, 2),)),
    Step("leader cancels the stop", Hand("cancel_stop"), (Act("cancel", 2, 2, resting="stop"),)),
    Step("leader cancels the target", Hand("cancel_target"), (Act("cancel", 2, 2, resting="target"),)),
    Step("leader turns: sells 5", Hand("order", "sell", 5), (Act("reverse", 2, -3),)),
    Step("leader is flat", Hand("close"), (Act("flat", -3, 0),)),
)
