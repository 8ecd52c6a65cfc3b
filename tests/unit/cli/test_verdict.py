"""The demo says no when something is wrong: doubled, lost, unasked or refused orders, and other decisions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.local.arithmetic import Expected
from cli.local.floor import Placed
from cli.local.measures import judge, quantile
from cli.local.player import differences
from cli.local.signal_view import LegSeen, SignalSeen

AT = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


def placed(name: str | None, outcome: str = "accepted", reason: str | None = None) -> Placed:
    return Placed(1, "placement", 1, "ESZ6", 1, outcome, reason, "api", name, "buy", 1)


def test_each_order_once_is_right() -> None:
    verdict = judge({"a", "b"}, [placed("a"), placed("b"), placed(None)])
    assert (verdict.duplicates, verdict.lost, verdict.differences) == (0, 0, ())


@pytest.mark.parametrize(
    "rows, doubled, lost, said",
    [
        ([placed("a"), placed("a"), placed("b")], 1, 0, "a was placed 2 times"),
        ([placed("a")], 0, 1, "b was sent and is in no ledger"),
        ([placed("a"), placed("b"), placed("c")], 0, 0, "c was placed without being sent"),
        ([placed("a"), placed("b", "rejected", "too_large")], 0, 0, "the broker refused b: too_large"),
    ],
)
def test_what_is_wrong_in_a_ledger_is_counted_and_named(
    rows: list[Placed], doubled: int, lost: int, said: str
) -> None:
    verdict = judge({"a", "b"}, rows)
    assert (verdict.duplicates, verdict.lost, verdict.differences) == (doubled, lost, (said,))


MUST = {"f1": Expected("approved", "", 2, ()), "f2": Expected("skipped", "paused", 0, ())}
SEEN = SignalSeen(
    "s1", 1, "ea", "enter", "ES", AT, AT, (LegSeen("f1", "approved"), LegSeen("f2", "skipped", "paused"))
)


def seen(*legs: LegSeen) -> SignalSeen:
    return SignalSeen("s1", 1, "ea", "enter", "ES", AT, AT, legs)


def test_decisions_as_expected_are_right() -> None:
    assert differences(SEEN, MUST) == []


@pytest.mark.parametrize(
    "legs, said",
    [
        ((LegSeen("f1", "approved"),), "enter for f2: no leg instead of skipped paused"),
        (
            (LegSeen("f1", "refused", "daily_loss"), LegSeen("f2", "skipped", "paused")),
            "enter for f1: refused daily_loss instead of approved",
        ),
        (
            (LegSeen("f1", "approved"), LegSeen("f2", "skipped", "flat")),
            "enter for f2: skipped flat instead of skipped paused",
        ),
        (
            (LegSeen("f1", "approved"), LegSeen("f2", "skipped", "paused"), LegSeen("f3", "approved")),
            "enter: f3 follows nobody",
        ),
    ],
)
def test_another_decision_is_named(legs: tuple[LegSeen, ...], said: str) -> None:
    assert differences(seen(*legs), MUST) == [said]


def test_an_approved_leg_is_right_whatever_its_remark() -> None:
    must = {"f1": replace(MUST["f1"], net=0)}
    assert differences(seen(LegSeen("f1", "approved", "closing")), must) == []


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, name) for name in ("p50", "p95", "p99", "max")] == [51.0, 96.0, 100.0, 100.0]
    assert quantile([7.0], "p99") == 7.0
