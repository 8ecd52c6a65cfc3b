"""T-10, the machine "rate budget": any mix of lanes, penalties and waits against a naive model (I-17, I-18, R-060).

The model keeps every request with its time and counts anew each time. The budget may count a request a little too
long (its windows are cut in slots), never too short; so what it grants must always fit the model, and what it denies
must not fit a window that is one slot longer.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from brokers._kit.budget import Budget, BudgetPolicy, Denied, Lane, Window
from tests.machines import MACHINE

NS = 1_000_000_000
WINDOWS = (Window(20, 10.0), Window(60, 60.0))
SLOTS = 60
lanes = st.sampled_from(list(Lane))
costs = st.integers(1, 4)


class RateBudget(RuleBasedStateMachine):
    """One budget and the list of all it granted."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(BudgetPolicy(WINDOWS))
        self.kept = 0
        self.budget.kept = lambda: self.kept
        self.now_ns = NS
        self.granted: list[tuple[int, Lane, int]] = []
        self.silent_until_ns = dict.fromkeys(Lane, 0)

    def used(self, window: Window, slack: bool = False) -> int:
        length_ns = int(window.per_s * NS) + (int(window.per_s * NS / SLOTS) + SLOTS if slack else 0)
        return sum(cost for at, _, cost in self.granted if at > self.now_ns - length_ns)

    def silent(self, lane: Lane) -> bool:
        return self.now_ns < self.silent_until_ns[lane]

    def fits(self, lane: Lane, cost: int, slack: bool = False) -> bool:
        shares = {Lane.PROTECT: 0.75, Lane.ENTRY: 0.75, Lane.STATUS: 0.6}
        kept = self.kept if lane > Lane.EXIT else 0
        # A tenth is left beside the way out, so that stops can still be moved.
        rests = [w.limit // 10 if lane >= Lane.ENTRY else 0 for w in WINDOWS]
        most = [
            min(int(w.limit * shares.get(lane, 1.0)), w.limit - rest - kept)
            for w, rest in zip(WINDOWS, rests, strict=True)
        ]
        return all(self.used(w, slack) + cost <= top for w, top in zip(WINDOWS, most, strict=True))

    @rule(lane=lanes, cost=costs)
    def take(self, lane: Lane, cost: int) -> None:
        foreseen = self.budget.forecast(lane, self.now_ns, cost)
        answer = self.budget.try_take(lane, self.now_ns, cost)
        assert answer == foreseen
        if isinstance(answer, Denied):
            # I-17: the urgent are never refused while a token of the reserve is left.
            assert self.silent(lane) or not self.fits(lane, cost, slack=True)
            assert answer.retry_after_s > 0
            return
        # I-18: nothing leaves in a penalty but what is urgent, and nothing at all above its share.
        assert not self.silent(lane)
        assert self.fits(lane, cost)
        self.granted.append((self.now_ns, lane, cost))

    @rule(kept=st.integers(0, 25))
    def something_opens_or_is_closed(self, kept: int) -> None:
        self.kept = kept

    @rule(lane=lanes)
    def a_denial_names_a_wait_that_is_long_enough(self, lane: Lane) -> None:
        answer = self.budget.forecast(lane, self.now_ns, 1)
        if isinstance(answer, Denied):
            later_ns = self.now_ns + int(answer.retry_after_s * NS) + 1
            again = self.budget.forecast(lane, later_ns, 1)
            if answer.reason == "kept":
                assert isinstance(again, Denied), "time alone makes no room where a close must"
                return
            # After a silence a window may still be full, but what was full has room.
            assert not (isinstance(again, Denied) and again.reason == answer.reason)
            self.now_ns = later_ns

    @rule(seconds=st.floats(0.1, 20), lane=lanes)
    def penalty(self, seconds: float, lane: Lane) -> None:
        self.budget.pause(self.now_ns, seconds, lane)
        until_ns = self.now_ns + int(seconds * NS)
        # Whoever is refused is silent, and so is all that is less urgent; entries, polls and doubts always.
        for silent in Lane:
            if silent >= lane or silent >= Lane.EXIT:
                self.silent_until_ns[silent] = max(self.silent_until_ns[silent], until_ns)

    @rule(milliseconds=st.integers(1, 15_000))
    def wait(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * 1_000_000

    @precondition(lambda self: not self.silent(Lane.ENTRY))
    @rule()
    def entries_never_touch_the_reserve(self) -> None:
        while not isinstance(self.budget.try_take(Lane.ENTRY, self.now_ns), Denied):
            self.granted.append((self.now_ns, Lane.ENTRY, 1))
        urgent = sum(c for at, lane, c in self.granted if lane <= Lane.EXIT and at > self.now_ns - 11 * NS)
        kept = int(WINDOWS[0].limit * 0.25)
        assert self.used(WINDOWS[0]) - urgent <= WINDOWS[0].limit - kept

    @invariant()
    def the_outlook_is_what_entries_would_get(self) -> None:
        seen = self.budget.outlook(self.now_ns)
        assert seen.entries == self.budget.room(Lane.ENTRY, self.now_ns)
        assert seen.polls == self.budget.room(Lane.STATUS, self.now_ns)
        assert all(self.used(window) <= window.limit for window in WINDOWS)


TestRateBudget = RateBudget.TestCase
TestRateBudget.settings = MACHINE
