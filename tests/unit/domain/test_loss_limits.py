"""Loss limits of prop accounts: each rule, the ladder, what a restart keeps, what a person clears (R-100 to R-104)."""

from datetime import UTC, date, datetime, timedelta

import pytest

from kopitra.domain.loss_ladder import Standing, merged_standing
from kopitra.domain.measuring import NewStart
from kopitra.domain.prop_limits import (
    Consistency,
    ContractCap,
    DailyLoss,
    GiveBack,
    InvalidLimits,
    Ladder,
    MaxLoss,
    PropLimits,
    limits_at,
)
from kopitra.domain.reset_clock import ResetClock, trading_day
from tests.unit.domain.limits_world import DAY, Account, d, limits

TRAILS = MaxLoss("trailing_intraday", d(2000), d(100))
CLEARED = NewStart(1, None, None, "ann", "the firm reset the account")


# rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, begins, floor",
    [
        (DailyLoss(amount=d(1000)), (50_500, 50_700), 49_500),
        (DailyLoss(percent=d(2)), (50_500, 50_700), 49_500),
        (DailyLoss(percent=d(2), percent_of="day"), (50_500, 50_700), 49_490),
        (DailyLoss(amount=d(1000), measured_from="equity"), (50_500, 50_700), 49_700),
        (DailyLoss(amount=d(1000), measured_from="higher"), (50_500, 50_700), 49_700),
        (DailyLoss(amount=d(1000), measured_from="higher"), (50_500, 50_100), 49_500),
    ],
)
def test_a_daily_loss_is_measured_from_where_its_version_says(
    rule: DailyLoss, begins: tuple[int, int], floor: int
) -> None:
    account = Account(limits(daily_loss=rule))
    account.look(*begins)
    assert account.use("limit_daily_loss").floor == floor


@pytest.mark.parametrize("balance", [0, -250])
def test_a_percentage_of_nothing_allows_no_loss(balance: int) -> None:
    """R-100, R-102: an empty or negative first balance of the day locks, before and after a loss."""
    account = Account(limits(daily_loss=DailyLoss(percent=d(5), percent_of="day")))
    assert account.look(balance) == "locked"
    assert account.look(balance - 100) == "locked"
    assert account.standing is not None
    assert "nothing may be lost" in account.standing.text


def test_a_daily_loss_of_closed_trades_does_not_see_open_profit() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000), counts="realized")))
    account.look(50_000)
    assert account.look(50_000, 48_000) == "clear"
    assert account.look(49_040, 49_500) == "locked"


def test_a_static_maximum_loss_never_moves() -> None:
    account = Account(limits(max_loss=MaxLoss("static", d(2000))))
    account.look(50_000)
    account.look(56_000)
    assert account.use("limit_max_loss").floor == 48_000


def test_an_intraday_trail_counts_open_profit_and_stops_at_its_lock() -> None:
    account = Account(limits(max_loss=TRAILS))
    account.look(50_000)
    account.look(50_000, 51_500)
    assert account.use("limit_max_loss").floor == 49_500
    account.look(50_000, 50_200)
    assert account.use("limit_max_loss").floor == 49_500, "never given back (R-100)"
    account.look(50_000, 58_000)
    assert account.use("limit_max_loss").floor == 50_100


def test_an_end_of_day_trail_moves_with_the_balance_at_the_reset_only() -> None:
    account = Account(limits(max_loss=MaxLoss("trailing_eod", d(2000), d(100))))
    account.look(50_000)
    account.look(51_500, 51_900)
    assert account.use("limit_max_loss").floor == 48_000
    account.day += timedelta(days=1)
    account.look(51_500)
    assert account.use("limit_max_loss").floor == 49_500
    account.day += timedelta(days=1)
    account.look(58_000)
    account.day += timedelta(days=1)
    account.look(57_000)
    assert account.use("limit_max_loss").floor == 50_100


def test_profit_is_given_back_only_from_the_day_s_highest() -> None:
    account = Account(limits(give_back=GiveBack(d(50), d(500))))
    account.look(50_000)
    account.look(50_000, 50_400)
    assert account.look(50_000, 49_900) == "clear"
    account.look(50_000, 51_000)
    assert account.use("limit_give_back").floor == 50_500
    assert account.look(50_000, 50_520) == "locked"
    account.day += timedelta(days=1)
    assert account.look(50_520) == "clear"


def test_consistency_warns_or_stops_but_never_flattens() -> None:
    for stops, rung in ((False, "warned"), (True, "reducing")):
        account = Account(limits(consistency=Consistency(d(30), d(3000), stops)))
        account.look(50_000)
        assert account.look(51_200) == rung
        assert account.use("limit_consistency").amount == 900


def test_consistency_without_a_target_begins_with_the_second_profitable_day() -> None:
    account = Account(limits(consistency=Consistency(d(50), None, stops=True)))
    account.look(50_000)
    assert account.look(51_000) == "clear"
    account.day += timedelta(days=1)
    assert account.look(51_000) == "clear"
    assert account.look(52_000) == "reducing"


# the ladder ------------------------------------------------------------------------------------------------


def test_the_ladder_warns_reduces_and_locks_at_its_rungs() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000))))
    looks = [
        (50_000, "clear"),
        (49_301, "clear"),
        (49_300, "warned"),
        (49_150, "reducing"),
        (49_050, "locked"),
    ]
    assert [account.look(equity) for equity, _ in looks] == [rung for _, rung in looks], (
        "70, 85, 95 % (R-102)"
    )


def test_the_rungs_of_an_account_are_its_own_numbers() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000)), ladder=Ladder(d(50), d(60), d(80))))
    account.look(50_000)
    assert [account.look(equity) for equity in (49_500, 49_400, 49_200)] == ["warned", "reducing", "locked"]


def test_reducing_ends_only_below_the_warning_and_a_lock_only_at_the_reset() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000))))
    account.look(50_000)
    assert [account.look(e) for e in (49_100, 49_200, 49_400)] == ["reducing", "reducing", "clear"]
    assert [account.look(e) for e in (49_000, 50_000, 51_000)] == ["locked", "locked", "locked"]
    account.day += timedelta(days=1)
    assert account.look(49_000) == "clear"


def test_the_sentence_names_the_rule_and_its_numbers() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000))))
    account.look(50_000)
    account.look(49_100)
    assert account.standing is not None
    assert account.standing.text == (
        "daily loss: 900.00 of 1,000.00 used; now 49,100.00, the floor is 49,000.00. "
        "At 85 % entries stop until nothing is above the warning; exits go on"
    )


def test_a_rung_is_told_once_a_day() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000))))
    told: list[str] = []
    for equity in (50_000, 49_250, 49_100, 49_500, 49_250, 49_100, 49_000):
        before = account.standing.told if account.standing is not None else "clear"
        account.look(equity)
        if account.standing is not None and account.standing.told != before:
            told.append(account.standing.told)
    assert told == ["warned", "reducing", "locked"]


def test_a_maximum_loss_locks_until_a_person_begins_a_new_start() -> None:
    """R-104: neither a new day, nor a better equity, nor a restart clears a stop-out."""
    account = Account(limits(max_loss=TRAILS))
    account.look(50_000, 51_000)
    assert account.look(49_050) == "locked"
    account.day += timedelta(days=3)
    assert account.look(52_000) == "locked"
    account.crash()
    assert account.look(52_000) == "locked"
    assert account.look(50_000, asked=CLEARED) == "clear"
    assert (account.measure.number, account.measure.start, account.measure.peak) == (1, 50_000, 50_000)


def test_a_new_start_takes_the_balance_and_the_peak_that_a_person_names() -> None:
    account = Account(limits(max_loss=TRAILS))
    account.look(50_000)
    account.look(50_700, asked=NewStart(1, d(50_000), d(51_800), "ann", "as the firm counts"))
    assert account.use("limit_max_loss").floor == 49_800


def test_a_lock_for_the_day_becomes_one_for_good() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(500)), max_loss=MaxLoss("static", d(2000))))
    account.look(50_000)
    assert account.look(49_500) == "locked"
    account.look(48_050)
    account.day += timedelta(days=1)
    assert account.look(48_050) == "locked"


# what is durable -------------------------------------------------------------------------------------------


def test_a_crash_at_the_peak_does_not_lower_it() -> None:
    """R-101: the journal already holds at least what was reached, whatever happened since the last mark."""
    account = Account(limits(max_loss=TRAILS, mark_step=d(10)))
    account.look(50_000)
    account.look(50_000, 51_003)
    marks = len(account.journal)
    account.look(50_000, "51_009.75")
    assert len(account.journal) == marks, "within a step nothing is written"
    floor = account.use("limit_max_loss").floor
    account.crash()
    account.look(50_000, 50_100)
    assert account.measure.peak >= d("51009.75")
    assert account.use("limit_max_loss").floor == floor


def test_marks_of_a_rise_are_bounded_by_its_steps() -> None:
    account = Account(limits(max_loss=TRAILS, mark_step=d(10)))
    account.look(50_000)
    for cents in range(0, 100_000, 25):
        account.look(50_000, str(d(50_000) + d(cents) / 100))
    assert len(account.journal) <= 101


def test_a_day_never_goes_back() -> None:
    account = Account(limits(daily_loss=DailyLoss(amount=d(1000))))
    account.look(50_000)
    account.day += timedelta(days=1)
    account.look(49_500)
    account.day -= timedelta(days=1)
    account.look(49_400)
    assert (account.measure.day, account.measure.day_balance) == (DAY + timedelta(days=1), 49_500)


def test_an_older_step_never_lifts_a_lock() -> None:
    account = Account(limits(max_loss=TRAILS))
    account.look(50_000)
    account.look(48_000)
    locked = account.standing
    assert locked is not None
    for day in (DAY, DAY + timedelta(days=1)):
        assert merged_standing(locked, Standing(0, day, "clear")) == locked
    assert merged_standing(locked, Standing(1, DAY, "clear")).rung == "clear"


# versions and clocks ---------------------------------------------------------------------------------------


def test_the_newest_version_counts_from_its_own_day_on() -> None:
    old, new = limits(version=1), limits(version=2, effective_from=date(2026, 11, 21))
    before, after = datetime(2026, 11, 20, 22, 59, tzinfo=UTC), datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    found = [limits_at((new, old), at) for at in (before, after)]
    assert [f[0].version for f in found if f is not None] == [1, 2]
    assert limits_at((new,), before) is None


@pytest.mark.parametrize(
    "clock, now, day, hours",
    [
        (ResetClock(), datetime(2026, 11, 20, 22, 59, tzinfo=UTC), date(2026, 11, 20), 24),
        (ResetClock(), datetime(2026, 11, 20, 23, 0, tzinfo=UTC), date(2026, 11, 21), 24),
        # clocks go back on Sunday, 1 November 2026, and forward on Sunday, 8 March 2026
        (ResetClock(), datetime(2026, 11, 1, 12, 0, tzinfo=UTC), date(2026, 11, 1), 25),
        (ResetClock(), datetime(2026, 3, 8, 12, 0, tzinfo=UTC), date(2026, 3, 8), 23),
        (ResetClock("Europe/Prague", 0), datetime(2026, 11, 20, 22, 59, tzinfo=UTC), date(2026, 11, 20), 24),
        (ResetClock("Europe/Prague", 0), datetime(2026, 11, 20, 23, 0, tzinfo=UTC), date(2026, 11, 21), 24),
        # 01:30 comes twice in Chicago that night: it resets once, at its first coming
        (ResetClock(minute=90), datetime(2026, 11, 1, 6, 30, tzinfo=UTC), date(2026, 11, 2), 25),
        (ResetClock(minute=90), datetime(2026, 11, 1, 7, 15, tzinfo=UTC), date(2026, 11, 2), 25),
        # 02:30 does not come in Chicago that night: the day turns when it would have come
        (ResetClock(minute=150), datetime(2026, 3, 8, 8, 30, tzinfo=UTC), date(2026, 3, 9), 23),
    ],
)
def test_a_trading_day_ends_at_its_local_minute(
    clock: ResetClock, now: datetime, day: date, hours: int
) -> None:
    found = trading_day(clock, now)
    assert found.day == day
    assert found.starts <= now < found.ends
    assert found.ends - found.starts == timedelta(hours=hours)


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"initial_balance": d(0)}, "initial_balance"),
        ({"daily_loss": DailyLoss()}, "daily_loss"),
        ({"daily_loss": DailyLoss(amount=d(1), percent=d(1))}, "daily_loss"),
        ({"daily_loss": DailyLoss(percent=d(101))}, "daily_loss.percent"),
        ({"max_loss": MaxLoss("static", d(0))}, "max_loss.amount"),
        ({"max_loss": MaxLoss("static", d(1), d(0))}, "max_loss.lock_at"),
        ({"give_back": GiveBack(d(0), d(1))}, "give_back.percent"),
        ({"give_back": GiveBack(d(1), d(0))}, "give_back.above"),
        ({"consistency": Consistency(d(101))}, "consistency.percent"),
        ({"caps": (ContractCap("MES", d(1)),)}, "caps"),
        ({"max_trades_per_day": -1}, "max_trades_per_day"),
        ({"ladder": Ladder(d(90), d(85), d(95))}, "ladder"),
        ({"reset": ResetClock("Mars/Olympus")}, "reset"),
        ({"reset": ResetClock(minute=1440)}, "reset"),
        ({"mark_step": d(0)}, "mark_step"),
        ({"stale_after_ms": 0}, "stale_after_ms"),
    ],
)
def test_limits_that_cannot_be_meant_name_their_field(changes: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidLimits, match=name) as caught:
        limits(**changes)
    assert caught.value.field == name


def test_limits_without_open_profit_need_no_price() -> None:
    closed = PropLimits(d(50_000), daily_loss=DailyLoss(amount=d(1), counts="realized"))
    eod = PropLimits(d(50_000), max_loss=MaxLoss("trailing_eod", d(1), counts="realized"))
    intraday = PropLimits(d(50_000), max_loss=MaxLoss("trailing_intraday", d(1), counts="realized"))
    assert [x.counts_open_profit for x in (closed, eod, intraday)] == [False, False, True]
