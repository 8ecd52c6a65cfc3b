"""The demo's pictures say what happened, and fit a terminal of 80 columns."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from cli.local.board import budget, part_of, signal_line
from cli.local.measures import HOPS
from cli.local.signal_view import LegSeen, OrderSeen, SignalSeen

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
WIDTH_COLS = 80


def order(role: str, state: str) -> OrderSeen:
    hops = {"sent": 4_310, "acked": 14_200, "filled": 14_500}
    return OrderSeen("c1", role, state, "MESZ6", "sell", Decimal(15), Decimal(15), hops=hops)


def signal(action: str, *legs: LegSeen) -> SignalSeen:
    return SignalSeen("s1", 7, "drop_copy", action, "ES", NOW, NOW, legs, "sell", Decimal(3))


def test_a_row_tells_of_the_order_that_moves_the_position() -> None:
    orders = (order("stop", "working"), order("entry", "filled"))
    leg = LegSeen("f1", "approved", notional=Decimal(510_000), orders=orders)
    part = part_of(signal("reverse", leg), "f1")
    assert (part.state, part.order, part.notional) == ("entry filled", "-15 MES", "510,000")
    assert part.hops == "4.3/14.2/14.5"


def test_a_row_says_why_nothing_was_copied() -> None:
    leg = LegSeen("f1", "refused", reason="daily_loss")
    part = part_of(signal("enter", leg), "f1")
    assert (part.state, part.why) == (
        "refused",
        "the day's loss limit is used up, or the day's result is not known",
    )


@pytest.mark.parametrize("action, state", [("replace", "moved"), ("cancel", "canceled")])
def test_a_change_without_an_order_of_its_own_is_named(action: str, state: str) -> None:
    assert part_of(signal(action, LegSeen("f1", "approved")), "f1").state == state


def test_who_is_not_in_the_signal_has_an_empty_row() -> None:
    assert set(part_of(signal("enter"), "f1")) == {""}


def test_a_signal_is_one_line_with_what_became_of_it() -> None:
    legs = (LegSeen("f1", "approved"), LegSeen("f2", "approved"), LegSeen("f3", "skipped"))
    assert signal_line(signal("exit", *legs)) == "drop copy: exit sell 3 ES  ->  2 copied, 1 skipped"


def test_the_budget_has_one_line_per_hop_and_a_verdict_for_each() -> None:
    times = {hop.name: [12.0, 999.0] if hop.name == "dispatch" else [12.0] for hop in HOPS} | {
        "detection": []
    }
    console = Console(width=WIDTH_COLS)
    with console.capture() as drawn:
        console.print(budget(times, WIDTH_COLS))
    lines = drawn.get().rstrip().splitlines()[2:]
    verdicts = ["NOT MEASURED", "kept", "OVER BUDGET", "kept", "kept", "kept", "kept"]
    assert [
        line.startswith(hop.title) and word in line
        for hop, word, line in zip(HOPS, verdicts, lines[1:], strict=True)
    ] == [True] * len(HOPS)
