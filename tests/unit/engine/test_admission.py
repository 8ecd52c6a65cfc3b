"""R-060, R-061: a fan-out that does not fit a login's budget is cut fairly, and everybody is told at once; it fits
where closing all that is open then still fits."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from brokers._kit.budget import GRANTED, Budget, BudgetPolicy, Lane, Window
from gateway_container.engine.admission import (
    Admission,
    LoginForecast,
    Penalties,
    followers_of,
    forecasts,
    own_requests,
    requests_of,
    way_out_of,
)
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.sessions import Sessions
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.orders import OrderIntent
from kopitra.ports import BrokerSession, Encoded, Forecast, Penalized


class HandClock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now_ns = 0

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return self.now_ns


class Login:
    """The budget of one login, as a session would ask it."""

    def __init__(self, per_minute: int) -> None:
        self.budget = Budget(BudgetPolicy((Window(per_minute, 60),)))
        self.now_ns = 1

    def forecast(self) -> Forecast:
        return self.budget.outlook(self.now_ns)

    def write(self, places: Sequence[Place]) -> list[str]:
        """Take the requests of these places; the accounts that got theirs."""
        lane = Lane.ENTRY
        return [
            p.intent.account_id
            for p in places
            if self.budget.try_take(lane, self.now_ns, requests_of(p)) == GRANTED
        ]


class Links:
    """Every account uses the login of its first letter."""

    def __init__(self, **logins: Login) -> None:
        self.logins = logins

    def of(self, account_id: str) -> BrokerSession | None:
        return cast(BrokerSession, self.logins[account_id[0]])


def intent(account_id: str, **fields: object) -> OrderIntent:
    made = OrderIntent(
        f"id-{account_id}", "list", account_id, "lead", "e", "entry", "ESZ6", "buy", Decimal(1)
    )
    return made._replace(**fields)


def place(account_id: str, requests: int = 1, follows: int = 0, attached: int = 0, **fields: object) -> Place:
    made = intent(account_id, **fields)
    children = tuple(made._replace(cl_ord_id=f"c{n}", role="stop") for n in range(attached))
    encoded = Encoded(made.cl_ord_id, account_id, b"", (), requests)
    return Place(made, children, encoded, Stamp(0, 0, 0), 0, follows)


def test_r061_what_fits_is_not_touched() -> None:
    admission = Admission(Links(a=Login(80)))
    assert admission.judge([place(f"a{n:02}") for n in range(60)]) == []


def test_r061_what_does_not_fit_is_told_the_whole_cost() -> None:
    admission = Admission(Links(a=Login(20)))
    declined = admission.judge([place(f"a{n:02}") for n in range(20)])
    assert [one.place.intent.account_id for one in declined] == [f"a{n}" for n in range(15, 20)]
    assert "costs 20 of 15 requests left" in declined[0].why
    assert "15 per 60 s" in declined[0].why


def test_r061_logins_are_judged_apart_and_exits_never() -> None:
    admission = Admission(Links(a=Login(4), b=Login(400)))
    places = [
        *(place(f"a{n}", reduce_only=True) for n in range(9)),
        *(place(f"b{n}") for n in range(9)),
        *(place(f"a{n}") for n in range(5)),
    ]
    assert [one.place.intent.account_id for one in admission.judge(places)] == ["a3", "a4"]


def test_r061_stops_and_targets_that_follow_one_by_one_count_with_their_entry() -> None:
    entry = intent("a1")
    stop = intent("a1", cl_ord_id="s", role="stop", parent=entry.cl_ord_id, after=(entry.cl_ord_id,))
    target = stop._replace(cl_ord_id="t", role="target")
    assert followers_of([entry, stop, target], entry) == 2
    admission = Admission(Links(a=Login(8)))  # six for entries
    places = [place(f"a{n}", follows=2) for n in range(3)]
    assert [one.place.intent.account_id for one in admission.judge(places)] == ["a2"]


def test_r061_an_attached_bracket_counts_as_its_broker_counts_it() -> None:
    admission = Admission(Links(a=Login(8)))
    assert len(admission.judge([place(f"a{n}", requests=1) for n in range(6)])) == 0
    assert len(admission.judge([place(f"a{n}", requests=3) for n in range(6)])) == 4


def test_r061_during_a_penalty_each_write_tells_its_own_wait() -> None:
    login = Login(8)
    login.budget.pause(login.now_ns, 30)
    assert Admission(Links(a=login)).judge([place(f"a{n}") for n in range(30)]) == []


def test_r060_an_entry_that_could_not_be_closed_at_once_is_declined_and_told_the_whole_cost() -> None:
    login = Login(80)
    places = [place(f"a{n:02}", attached=2) for n in range(20)]
    login.budget.kept = lambda: 60  # the book counts them already
    declined = Admission(Links(a=login)).judge(places)
    assert len(declined) == 2, (
        "18 cost 18, and 54 for the way out: together the 72 that entries may use at most"
    )
    assert "costs 20 of 60 requests left" in declined[0].why
    assert "closing it again 60 more, where 72 are left beside what is open" in declined[0].why


def test_r060_what_is_open_already_leaves_less_room() -> None:
    login = Login(80)
    login.budget.kept = lambda: 40 + 15
    declined = Admission(Links(a=login)).judge([place(f"a{n}", attached=2) for n in range(5)])
    assert declined == []
    login.budget.kept = lambda: 60 + 15
    declined = Admission(Links(a=login)).judge([place(f"a{n}", attached=2) for n in range(5)])
    assert [one.place.intent.account_id for one in declined] == ["a3", "a4"]


@given(
    st.integers(10, 200),
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=2
        ),
        max_size=6,
    ),
    st.integers(0, 30),
)
def test_r060_whatever_was_admitted_can_be_closed_at_once(
    limit: int, fan_outs: list[list[tuple[int, int, int, bool]]], moves: int
) -> None:
    """Entries of any cost, one after the other, stop moves and polls between them: the exits of all fit the window."""
    login, opened = Login(limit), 0
    admission = Admission(Links(a=login))
    for number, costs in enumerate(fan_outs):
        places = [
            place(f"a{number}-{n}", requests, follows, attached, ord_type="limit" if rests else "market")
            for n, (requests, follows, attached, rests) in enumerate(costs)
        ]
        decided = opened + sum(way_out_of(one) for one in places)
        login.budget.kept = lambda kept=decided: kept
        out = {one.place.intent.account_id for one in admission.judge(places)}
        admitted = [one for one in places if one.intent.account_id not in out]
        opened += sum(way_out_of(one) for one in admitted)
        login.budget.kept = lambda kept=opened: kept
        for one in admitted:
            assert login.budget.try_take(Lane.ENTRY, login.now_ns, own_requests(one)) == GRANTED
        for lane in (Lane.PROTECT, Lane.STATUS):
            for _ in range(moves):
                login.budget.try_take(lane, login.now_ns)
    assert login.budget.try_take(Lane.FLATTEN, login.now_ns, opened) == GRANTED


class Open:
    """The sessions of a house with one login."""

    def __init__(self, login: Login) -> None:
        self.all = {"l": cast(BrokerSession, login)}


def following(rules: Sequence[CopyRule], shadows: Sequence[str] = ()) -> GatewayConfig:
    """All of them trade at one login."""
    accounts = {
        r.account_id: AccountConfig(r.account_id, "w", "", "b", "l", "", shadow=r.account_id in shadows)
        for r in rules
    }
    login = LoginConfig("l", "w", "b", {}, {})
    return GatewayConfig(
        1, accounts, {"lead": LeaderConfig("lead", "w", "")}, {"l": login}, {"lead": tuple(rules)}
    )


def foretold(login: Login, config: GatewayConfig, *, brackets: bool = True) -> LoginForecast:
    """What people are told of the next signal."""
    brokers = frozenset({"b"} if brackets else ())
    (found,) = forecasts(config, cast(Sessions, Open(login)), brokers, "w")
    return found


@given(
    st.integers(4, 120),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=20),
    st.integers(0, 60),
    st.integers(0, 60),
    st.booleans(),
)
def test_r061_the_forecast_is_the_verdict_of_the_fan_out_that_follows(
    limit: int, copies: list[tuple[bool, bool]], used: int, kept: int, brackets: bool
) -> None:
    """R-060, R-061: with stops and targets and without, whatever is open and used already."""
    login = Login(limit)
    login.budget.kept = lambda: kept
    for _ in range(used):
        login.budget.try_take(Lane.FLATTEN, login.now_ns)
    rules = [
        CopyRule(f"r{n}", 1, "w", "lead", f"a{n:02}", copy_stop_loss=stop, copy_take_profit=target)
        for n, (stop, target) in enumerate(copies)
    ]
    told = foretold(login, following(rules), brackets=brackets)
    for protects, cost, foreseen in (
        (False, told.plain, told.plain_served),
        (True, told.protected, told.protected_served),
    ):
        counts = [rule.copy_stop_loss + rule.copy_take_profit if protects else 0 for rule in rules]
        places = [
            place(rule.account_id, 1, 0 if brackets else count, count if brackets else 0)
            for rule, count in zip(rules, counts, strict=True)
        ]
        out = sum(way_out_of(one) for one in places)
        login.budget.kept = lambda all_=kept + out: all_  # the book counts the decided orders at once
        declined = Admission(Links(a=login)).judge(places)
        login.budget.kept = lambda: kept
        assert cost == sum(requests_of(one) for one in places)
        assert foreseen == len(places) - len(declined)


def test_r060_a_forecast_says_that_entries_which_fit_the_budget_could_not_be_closed_again() -> None:
    login = Login(80)
    rules = [CopyRule(f"r{n}", 1, "w", "lead", f"a{n:02}") for n in range(20)]
    told = foretold(login, following(rules))
    assert (told.protected, told.room.entries) == (20, 60)
    assert (told.plain_served, told.protected_served) == (20, 18)


def test_a_forecast_counts_those_only_that_would_cost_requests() -> None:
    rules = [
        CopyRule("r1", 1, "w", "lead", "a1"),
        CopyRule("r2", 1, "w", "lead", "a2", pace="paused"),
        CopyRule("r3", 1, "w", "lead", "a3"),
    ]
    told = foretold(Login(80), following(rules, shadows=["a3"]), brackets=False)
    assert (told.followers, told.plain, told.protected) == (1, 1, 3)


@given(st.integers(2, 12), st.integers(4, 15), st.integers(4, 30))
def test_r061_nobody_is_always_the_one_left_out(followers: int, room: int, rounds: int) -> None:
    """Over many signals everybody is served equally often, give or take one."""
    login = Login(room)
    admission = Admission(Links(a=login))
    served: Counter[str] = Counter()
    places = [place(f"a{n:02}") for n in range(followers)]
    for _ in range(rounds):
        login.now_ns += 70 * 1_000_000_000  # a new minute
        out = {one.place.intent.account_id for one in admission.judge(places)}
        admitted = [p for p in places if p.intent.account_id not in out]
        wrote = login.write(admitted)
        assert wrote == [p.intent.account_id for p in admitted]
        served.update(wrote)
    counts = [served[p.intent.account_id] for p in places]
    assert max(counts) - min(counts) <= 1


def test_r062_two_penalties_of_a_login_in_ten_minutes_are_told_once() -> None:
    clock, told = HandClock(), list[str]()
    penalties = Penalties(clock, lambda code, text, _account: told.append(f"{code} {text}"))

    def penalty(login: str, after_s: float) -> int:
        clock.now_ns += int(after_s * 1e9)
        penalties.heard(Penalized(login, 15, "429"))
        return len(told)

    assert [penalty("x", 0), penalty("y", 1), penalty("x", 601)] == [0, 0, 0]
    assert [penalty("x", 599), penalty("x", 10)] == [1, 1]
    assert "penalties-repeated login x" in told[0]
    assert penalty("x", 590) == 1
    assert penalty("x", 200) == 2, "ten minutes after it was told it is told again"
