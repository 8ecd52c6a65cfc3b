"""The demo's own arithmetic against numbers worked out by hand, so that the other opinion is a sound one."""

from decimal import Decimal

import pytest

from cli.local.arithmetic import Expected, expectations
from cli.local.scenario import FOLLOWERS, STEPS

_PAPERS = expectations(FOLLOWERS, STEPS)
_TITLES = [step.title for step in STEPS]


def after(title: str, account: str, act: int = -1) -> Expected:
    return _PAPERS[_TITLES.index(title)][act][account]


def test_there_are_twenty_followers_ten_at_each_broker_and_one_of_each_kind() -> None:
    assert [spec.slot for spec in FOLLOWERS].count(0) == [spec.slot for spec in FOLLOWERS].count(1) == 10
    modes = {spec.rule["sizing.mode"] for spec in FOLLOWERS}
    assert modes == {"fixed", "multiplier", "equity_proportional", "percent_of_equity", "risk_from_stop"}
    paces = [spec.rule.get("pace") for spec in FOLLOWERS]
    assert paces.count("close_only") == paces.count("paused") == sum(spec.used_up for spec in FOLLOWERS) == 1


@pytest.mark.parametrize(
    "title, held",
    [
        ("TradingView alert: long 2", {"f01": 1, "f02": 3, "f03": 2, "f04": 4, "f05": 1, "f08": -2, "f09": 10,
                                       "f13": 1, "f17": 4, "f18": 5, "f20": 3, "f06": 2, "f07": 0, "f10": 0}),
        ("EA: short 2 with stop and target, sent twice", {"f02": -3, "f06": -2, "f07": -2, "f08": 2, "f14": 0}),
        ("leader buys 3 with a bracket", {"f01": 1, "f04": 6, "f05": 1, "f06": 2, "f07": 0, "f13": 2, "f20": 4}),
        ("leader takes 1 off", {"f01": 0, "f02": 2, "f04": 4, "f05": 1, "f06": 1, "f13": 1, "f17": 4, "f20": 3}),
        ("leader turns: sells 5", {"f01": -1, "f02": -3, "f08": 3, "f09": -15, "f14": 0, "f18": -7}),
    ],
)  # fmt: skip
def test_holdings_are_as_worked_out_by_hand(title: str, held: dict[str, int]) -> None:
    assert {account: after(title, account).net for account in held} == held


def test_everybody_is_flat_and_rests_nothing_in_the_end() -> None:
    assert {(e.net, e.resting) for e in _PAPERS[-1][-1].values()} == {(0, ())}


def test_an_inverse_follower_swaps_stop_and_target() -> None:
    assert after("EA: short 2 with stop and target, sent twice", "f08").resting == (
        Decimal(6780),
        Decimal(6810),
    )


def test_reasons_name_what_stops_a_follower() -> None:
    title = "EA: short 2 with stop and target, sent twice"
    reasons = {account: after(title, account).reason for account in ("f10", "f11", "f12", "f14")}
    assert reasons == {
        "f10": "close_only",
        "f11": "paused",
        "f12": "daily_loss",
        "f14": "side_filtered",
    }
    assert after(title, "f12").outcome == "refused"


def test_who_copies_no_stops_rests_the_target_only() -> None:
    assert after("leader moves the stop to 6796", "f19").resting == (Decimal(6820),)
    assert after("leader moves the stop to 6796", "f19").reason == "no_mirrored_order"
