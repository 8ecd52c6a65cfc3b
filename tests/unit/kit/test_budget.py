import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers._kit.budget import GRANTED, Budget, BudgetPolicy, Denied, Lane, Window, not_sent
from kopitra.ports import Forecast

NS = 1_000_000_000
lanes = st.sampled_from(list(Lane))


def budget(*windows: Window) -> Budget:
    return Budget(BudgetPolicy(windows or (Window(80, 60), Window(200, 3600))))


def drain(spender: Budget, lane: Lane, now_ns: int = 0) -> int:
    taken = 0
    while spender.try_take(lane, now_ns) == GRANTED:
        taken += 1
    return taken


def test_entries_leave_a_quarter_to_exits() -> None:
    spender = budget()
    assert drain(spender, Lane.ENTRY) == 60
    assert spender.room(Lane.EXIT, 0) == 20
    assert drain(spender, Lane.FLATTEN) == 20
    assert drain(spender, Lane.EXIT) == 0


def test_status_polling_leaves_room_for_entries() -> None:
    spender = budget()
    assert drain(spender, Lane.STATUS) == 48
    assert drain(spender, Lane.ENTRY) == 12


def test_the_longer_window_holds_when_the_shorter_is_free_again() -> None:
    spender = budget()
    for minute in range(3):
        drain(spender, Lane.ENTRY, minute * 62 * NS)
    assert spender.room(Lane.ENTRY, 200 * NS) == 0
    answer = spender.try_take(Lane.ENTRY, 200 * NS)
    assert isinstance(answer, Denied)
    assert answer.reason == "window"
    assert 3300 < answer.retry_after_s < 3600
    assert spender.room(Lane.EXIT, 200 * NS) == 50


def test_a_denied_fan_out_takes_nothing() -> None:
    spender = budget()
    assert isinstance(spender.forecast(Lane.ENTRY, 0, 61), Denied)
    assert isinstance(spender.try_take(Lane.ENTRY, 0, 61), Denied)
    assert spender.try_take(Lane.ENTRY, 0, 60) == GRANTED
    assert spender.forecast(Lane.ENTRY, 0, 1) != GRANTED


def test_a_cost_that_can_never_fit_says_so() -> None:
    assert budget().try_take(Lane.ENTRY, 0, 200) == Denied("too-large", math.inf)


def test_exits_and_recovery_pass_a_penalty_and_a_shorter_one_does_not_end_it() -> None:
    """R-062: without the steps of RECOVER a dropped session would not come back, and no exit could leave."""
    spender = budget()
    spender.pause(0, 15)
    spender.pause(0, 1)
    assert [spender.room(lane, 14 * NS) > 0 for lane in Lane] == [True, True, False, False, False, False]
    assert spender.try_take(Lane.EXIT, 14 * NS) == Denied("penalty", 1.0)
    assert spender.try_take(Lane.FLATTEN, 14 * NS) == GRANTED
    assert spender.try_take(Lane.ENTRY, 15 * NS) == GRANTED
    assert (spender.paused_s(5 * NS), spender.paused_s(20 * NS)) == (10.0, 0.0)


def test_a_refused_exit_silences_the_exits_too_for_as_long_as_told() -> None:
    spender = budget()
    spender.pause(0, 60)
    spender.pause(0, 10, Lane.FLATTEN)
    assert spender.try_take(Lane.FLATTEN, 4 * NS) == Denied("penalty", 6.0)
    assert spender.try_take(Lane.FLATTEN, 10 * NS) == GRANTED
    assert spender.try_take(Lane.ENTRY, 10 * NS) == Denied("penalty", 50.0)


def test_a_refused_recovery_silences_itself_and_no_exit() -> None:
    """R-062: each waits since it was refused itself; a refused exit ends the attempts of both."""
    spender = budget()
    spender.pause(0, 10, Lane.RECOVER)
    assert spender.try_take(Lane.RECOVER, 4 * NS) == Denied("penalty", 6.0)
    assert spender.try_take(Lane.FLATTEN, 4 * NS) == GRANTED
    spender.pause(4 * NS, 20, Lane.FLATTEN)
    waits = [spender.try_take(lane, 12 * NS) for lane in (Lane.FLATTEN, Lane.RECOVER)]
    assert waits == [Denied("penalty", 12.0)] * 2


@pytest.mark.parametrize("told_s", [86_400.0, math.inf])
def test_no_word_of_a_broker_shuts_the_way_out_for_a_day(told_s: float) -> None:
    """R-062: an absurd Retry-After on an exit; entries obey it, for a day at most."""
    spender = budget()
    assert spender.pause(0, told_s, Lane.FLATTEN) == 60
    assert spender.try_take(Lane.FLATTEN, 59 * NS) == Denied("penalty", 1.0)
    assert spender.try_take(Lane.FLATTEN, 60 * NS) == spender.try_take(Lane.RECOVER, 60 * NS) == GRANTED
    assert spender.try_take(Lane.EXIT, 60 * NS) == Denied("penalty", 86_340.0)
    assert spender.paused_s(60 * NS) == 86_340


def test_what_is_spared_is_left_and_not_taken() -> None:
    spender = budget(Window(10, 60))
    assert spender.try_take(Lane.FLATTEN, 0, 3, spare=7) == GRANTED
    assert isinstance(spender.try_take(Lane.FLATTEN, 0, 1, spare=7), Denied)
    assert spender.room(Lane.FLATTEN, 0) == 7


@given(st.lists(st.tuples(lanes, st.integers(0, 20 * NS), st.integers(1, 4)), max_size=300))
def test_no_window_is_ever_exceeded_and_the_reserve_is_never_refused(
    steps: list[tuple[Lane, int, int]],
) -> None:
    window = Window(20, 60)
    spender, now_ns, granted = budget(window), 0, list[tuple[int, int]]()
    for lane, step_ns, cost in steps:
        now_ns += step_ns
        answer = spender.try_take(lane, now_ns, cost)
        used = sum(cost for at_ns, cost in granted if at_ns > now_ns - 60 * NS)
        late = sum(cost for at_ns, cost in granted if at_ns > now_ns - 62 * NS)
        if answer == GRANTED:
            granted.append((now_ns, cost))
            assert used + cost <= (20 if lane <= Lane.EXIT else 15)
        elif lane <= Lane.EXIT:
            assert late + cost > 20


@given(st.lists(st.tuples(lanes, st.integers(0, 20 * NS)), max_size=200), lanes)
def test_after_the_named_wait_it_is_granted(steps: list[tuple[Lane, int]], lane: Lane) -> None:
    spender, now_ns = budget(), 0
    for step_lane, step_ns in steps:
        now_ns += step_ns
        spender.try_take(step_lane, now_ns)
    answer = spender.try_take(lane, now_ns)
    if isinstance(answer, Denied):
        assert spender.try_take(lane, now_ns + math.ceil(answer.retry_after_s * NS)) == GRANTED


@pytest.mark.parametrize(
    "windows, ceilings",
    [
        ([Window(0, 60)], {}),
        ([Window(1, 0)], {}),
        ([Window(10, 60)], {Lane.ENTRY: 0.9}),
        ([Window(10, 60)], {Lane.EXIT: 0.9}),
    ],
)
def test_a_policy_without_a_reserve_or_a_limit_is_refused(
    windows: list[Window], ceilings: dict[Lane, float]
) -> None:
    whole = dict(BudgetPolicy([Window(1, 1)]).ceilings) | ceilings
    with pytest.raises(ValueError, match=r"budget window|quarter|whole window"):
        BudgetPolicy(windows, whole)


def test_r061_the_outlook_names_the_tightest_window_and_what_entries_may_still_use_of_it() -> None:
    spender = budget()
    assert spender.outlook(0) == Forecast(60, 48, 60, 60, free=72)
    drain(spender, Lane.STATUS)
    assert spender.outlook(0) == Forecast(12, 0, 60, 60, free=24)
    for minute in range(1, 3):
        drain(spender, Lane.ENTRY, minute * 62 * NS)
    assert spender.outlook(200 * NS) == Forecast(0, 0, 150, 3600, free=30)
    spender.pause(200 * NS, 5)
    assert spender.outlook(200 * NS).paused_s == 5


def test_r060_what_the_way_out_costs_is_left_by_everything_but_exits() -> None:
    spender = budget(Window(80, 60))
    spender.kept = lambda: 50
    assert drain(spender, Lane.STATUS) == 22, (
        "80, less 50, less a tenth of the window for what is more urgent"
    )
    assert drain(spender, Lane.ENTRY) == 0
    assert spender.outlook(0) == Forecast(38, 26, 60, 60, free=0, kept=50)
    assert (spender.outlook(0).entries, spender.outlook(0).polls) == (0, 0)
    assert drain(spender, Lane.PROTECT) == 8, "stops can still be moved"
    assert drain(spender, Lane.EXIT) == 50, "exits use it"


def test_r060_where_nothing_but_a_close_makes_room_the_wait_is_a_second() -> None:
    spender, open_now = budget(Window(80, 60)), [80]
    spender.kept = lambda: open_now[0]
    answer = spender.try_take(Lane.PROTECT, 0)
    assert answer == Denied("kept", 1.0)
    assert isinstance(answer, Denied)
    assert "kept for closing" in not_sent(answer).text
    open_now[0] = 79
    assert spender.try_take(Lane.PROTECT, 0) == GRANTED


def test_r062_each_request_for_silence_is_told() -> None:
    heard: list[float] = []
    spender = Budget(BudgetPolicy((Window(80, 60),)), heard.append)
    spender.pause(0, 15)
    spender.pause(NS, 3)
    assert heard == [15, 3]


def test_a_budget_without_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="a window"):
        BudgetPolicy(())


def test_r060_the_reads_with_which_a_flatten_begins_are_left_too() -> None:
    spender = Budget(BudgetPolicy((Window(80, 60),), reads=12))
    spender.kept = lambda: 48
    assert drain(spender, Lane.ENTRY) == 12
    assert drain(spender, Lane.PROTECT) == 8
    assert spender.try_take(Lane.FLATTEN, 0, 12, spare=48) == GRANTED


def test_r060_what_is_left_to_reads_never_shuts_a_small_budget() -> None:
    spender = Budget(BudgetPolicy((Window(12, 60),), reads=12))
    assert drain(spender, Lane.ENTRY) == 8, "12 less a quarter and a tenth"


def test_r059_what_another_process_sent_lately_fills_the_window_until_it_is_a_window_old() -> None:
    budget = Budget(BudgetPolicy((Window(80, 60),)))
    budget.spent([10 * NS] * 30 + [40 * NS] * 20)
    assert budget.room(Lane.ENTRY, 50 * NS) == 10
    assert budget.room(Lane.FLATTEN, 50 * NS) == 30
    assert budget.room(Lane.ENTRY, 72 * NS) == 40
    assert budget.room(Lane.ENTRY, 102 * NS) == 60


def test_r059_what_was_sent_before_this_process_began_to_count_time_counts_as_of_its_beginning() -> None:
    budget = Budget(BudgetPolicy((Window(80, 60),)))
    budget.spent([-20 * NS] * 30)
    assert budget.room(Lane.ENTRY, NS) == 30
