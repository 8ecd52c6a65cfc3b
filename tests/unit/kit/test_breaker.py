from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from brokers._kit.breaker import Blocked, Breaker, CallKind, Permit
from tests.machines import MACHINE

NS = 1_000_000_000


class Bench:
    """A breaker with a clock in hand."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.breaker = Breaker(clock_ns=lambda: self.now_ns, rng=Random(1))

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS)

    def permit(self, kind: CallKind) -> Permit:
        permit = self.breaker.ask(kind)
        assert isinstance(permit, Permit)
        return permit

    def blocked(self, kind: CallKind) -> float:
        blocked = self.breaker.ask(kind)
        assert isinstance(blocked, Blocked)
        return blocked.retry_after_s

    def open(self) -> None:
        for _ in range(5):
            self.permit("entry").failed()
        assert self.breaker.state == "open"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_five_failures_in_a_row_open_it_and_a_success_between_does_not(bench: Bench) -> None:
    for ok in (False, False, False, False, True, False, False, False, False):
        permit = bench.permit("entry")
        permit.succeeded() if ok else permit.failed()
        bench.wait(31)
    assert bench.breaker.state == "closed"
    bench.permit("read").failed()
    assert bench.breaker.state == "open"


def test_more_than_half_of_ten_calls_in_the_window_open_it(bench: Bench) -> None:
    outcomes = [True, False, False] * 2 + [False, True, True, False]
    for ok in outcomes[:-1]:
        permit = bench.permit("entry")
        permit.succeeded() if ok else permit.failed()
    assert bench.breaker.state == "closed"
    bench.permit("entry").failed()
    assert bench.breaker.state == "open"


def test_an_open_breaker_blocks_entries_and_reads_but_lets_an_exit_pass_each_second(bench: Bench) -> None:
    bench.open()
    assert 5 <= bench.blocked("entry") <= 6
    assert bench.blocked("read") > 0
    bench.permit("exit")
    assert bench.blocked("exit") == 1
    bench.wait(1)
    bench.permit("exit")


def test_after_the_open_time_exactly_one_probe_passes_and_it_is_a_read(bench: Bench) -> None:
    bench.open()
    bench.wait(6)
    bench.blocked("entry")
    probe = bench.permit("read")
    assert probe.is_probe
    assert bench.breaker.state == "half_open"
    bench.blocked("read")
    bench.blocked("entry")
    probe.succeeded()
    assert bench.breaker.state == "closed"
    assert not bench.permit("entry").is_probe


def test_each_failed_probe_doubles_the_open_time_to_its_cap(bench: Bench) -> None:
    bench.open()
    for expected_s in (5, 10, 20, 40, 60, 60):
        assert expected_s <= bench.blocked("entry") <= expected_s * 1.2
        bench.wait(expected_s * 1.2)
        bench.permit("read").failed()
        assert bench.breaker.state == "open"
    bench.wait(72)
    bench.permit("read").succeeded()
    bench.open()
    assert 5 <= bench.blocked("entry") <= 6, "a recovery starts over"


def test_an_exit_that_works_closes_it_and_one_that_fails_changes_nothing(bench: Bench) -> None:
    bench.open()
    before_s = bench.blocked("entry")
    bench.permit("exit").failed()
    assert bench.blocked("entry") == before_s
    bench.wait(1)
    bench.permit("exit").succeeded()
    assert bench.breaker.state == "closed"


def test_a_success_of_a_call_made_before_it_opened_says_nothing(bench: Bench) -> None:
    early = bench.permit("entry")
    bench.open()
    early.succeeded()
    assert bench.breaker.state == "open"


def test_a_failure_of_a_call_made_before_it_closed_says_nothing(bench: Bench) -> None:
    early = [bench.permit("entry") for _ in range(9)]
    for permit in early[:5]:
        permit.failed()
    bench.wait(6)
    bench.permit("read").succeeded()
    for permit in early[5:]:
        permit.failed()
    bench.permit("entry").failed()
    assert bench.breaker.state == "closed"


def test_a_probe_without_an_outcome_is_given_up(bench: Bench) -> None:
    bench.open()
    bench.wait(6)
    lost = bench.permit("read")
    assert bench.blocked("read") == 10
    bench.wait(10)
    second = bench.permit("read")
    lost.failed()
    assert bench.breaker.state == "half_open"
    second.succeeded()
    assert bench.breaker.state == "closed"


def test_an_outcome_counts_once(bench: Bench) -> None:
    permit = bench.permit("entry")
    for _ in range(5):
        permit.failed()
    assert bench.breaker.state == "closed"


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens: never an entry while not closed, never two probes at once, never stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.permits: list[Permit] = []

    @rule(kind=st.sampled_from(["entry", "exit", "read"]))
    def ask(self, kind: CallKind) -> None:
        state = self.bench.breaker.state
        answer = self.bench.breaker.ask(kind)
        if isinstance(answer, Permit):
            self.permits.append(answer)
            assert state == "closed" or kind == "exit" or (kind == "read" and answer.is_probe)
        else:
            assert state != "closed"
            assert answer.retry_after_s >= 0

    @rule(ok=st.booleans(), which=st.integers(0, 9))
    def report(self, ok: bool, which: int) -> None:
        if self.permits:
            permit = self.permits.pop(which % len(self.permits))
            permit.succeeded() if ok else permit.failed()

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @invariant()
    def a_probe_is_never_more_than_72_seconds_away(self) -> None:
        if self.bench.breaker.state != "closed":
            entry = self.bench.breaker.ask("entry")
            assert isinstance(entry, Blocked)
            assert entry.retry_after_s <= 72


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = MACHINE
