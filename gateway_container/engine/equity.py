"""Loss limits at work: what accounts are worth, what they may still lose, and what happens at each rung (R-100..R-104).

Beside the signals: every price, fill, balance and position of an account with limits is looked at, and all of them four
times a second. What comes out is one value per account (`State.standings`), which plan and last look compare. What is
relied on is in the journal before it is acted upon: a new highest value before the lock that it leads to. While the
journal is away both go into the local exit file, so that the next process knows them too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from gateway_container.engine.config import AccountConfig
from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.flatten import Flattener
from gateway_container.engine.log import Log
from gateway_container.engine.marks import Look, Marks
from gateway_container.engine.state import State
from kopitra.domain.journal import EquityMarked, FollowUp, LimitRung
from kopitra.domain.loss_ladder import RANK, Standing, quiet_between, stands, uses
from kopitra.domain.measuring import Measure, NewStart, Reading, begun, begun_anew, observed
from kopitra.domain.prop_limits import PropLimits, PropStanding, limits_at
from kopitra.domain.reset_clock import TradingDay
from kopitra.domain.withdrawing import withdrawn_entries

#: seconds between two looks at every account: age, days and locks move without any event
LOOK_EVERY_S: Final = 0.25
#: seconds between two looks whether there is an account to look at
IDLE_S: Final = 1.0
#: flattens of one lock; what opens again after that is a person's
FLATTENS_MAX: Final = 5
#: nanoseconds between two alerts of one account that its equity is stale
STALE_ALERT_NS: Final = 60_000_000_000
_NS_PER_MS: Final = 1_000_000
_NOTHING: Final = Look(None, 0, "nothing is known yet")
_ALERTS: Final = {"warned": "limit-warned", "reducing": "limit-reducing", "locked": "limit-locked"}


class Quiet(NamedTuple):
    """What the last judgement was made of, and the equity up and down to which it would be the same."""

    measure: Measure
    standing: Standing | None
    limits: PropLimits
    day: date
    balance: Decimal
    low: Decimal
    high: Decimal

    def holds(
        self, watched: "Watched", measure: Measure | None, standing: Standing | None, now: Reading
    ) -> bool:
        """Nothing that matters has changed: most prices end here."""
        return (
            measure is self.measure
            and standing is self.standing
            and watched.limits is self.limits
            and watched.today.day == self.day
            and now.balance == self.balance
            and self.low < now.equity < self.high
            and now.best <= self.measure.day_peak
            and now.best <= self.measure.peak
        )


@dataclass(slots=True)
class Watched:
    """One account with limits."""

    account: AccountConfig
    limits: PropLimits
    today: TradingDay
    #: monotonic; since when this process looks at it
    since_ns: int
    look: Look = _NOTHING
    #: this process has read it
    ready: bool = False
    quiet: "Quiet | None" = None
    asked: NewStart | None = None
    flattens: int = 0
    #: monotonic; when people were last told that its equity is stale
    told_stale_ns: int | None = None


class Equity:
    """Watches money. `run` is the task's body; `heard` gets every event of every session."""

    def __init__(
        self,
        state: State,
        log: Log,
        flattener: Flattener,
        watch_price: Callable[[str], None],
        alert: Callable[[str, str, str], None],
    ) -> None:
        self._state = state
        self._log = log
        self._flattener = flattener
        self._watch_price = watch_price
        self._alert = alert
        #: carries out what follows
        self.follow: Callable[[FollowUp], None] = lambda _follow: None
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self._marks = Marks(state)
        self._watched: dict[str, Watched] = {}

    def configure(self) -> None:
        """Take the configuration: entries of an account with limits wait until its equity is known."""
        before, now = self._watched, self._state.clock.now()
        watched: dict[str, Watched] = {}
        for account in self._state.config.accounts.values():
            current = self._current(account, now) if account.active else None
            if current is not None:
                known = before.get(account.account_id)
                watched[account.account_id] = made = known or Watched(
                    account, *current, self._state.clock.monotonic_ns()
                )
                made.account, (made.limits, made.today) = account, current
        self._watched = watched
        self._marks.watch(watched)
        for gone in before.keys() - watched.keys():
            self._state.standings.pop(gone, None)
        for one in watched.values():
            self._look(one)

    def heard(self, event: object) -> None:
        """After the reports have taken the event."""
        if not self._watched:
            return
        for account_id in self._marks.heard(event):
            self._look(self._watched[account_id])

    async def run(self) -> None:
        """Look at everything again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S if self._watched else IDLE_S)
            self._take_up_versions()
            for watched in tuple(self._watched.values()):
                self._look(watched)

    def _take_up_versions(self) -> None:
        """A version that was made for a later day counts from its day on."""
        now = self._state.clock.now()
        waiting = [
            a for a in self._state.config.accounts.values() if a.prop and a.account_id not in self._watched
        ]
        if any(a.active and self._current(a, now) is not None for a in waiting):
            self.configure()

    def _current(self, account: AccountConfig, now: datetime) -> tuple[PropLimits, TradingDay] | None:
        try:
            return limits_at(account.prop, now)
        except Exception as error:  # noqa: BLE001 - one account's limits must not end those of all
            self.failed(account.account_id, "finding its loss limits", error)
            return None

    # one account -------------------------------------------------------------------------------------------

    def _look(self, watched: Watched) -> None:
        """Look at one account; what fails there is its own."""
        try:
            self._judge(watched)
        except Exception as error:  # noqa: BLE001 - likewise
            self.failed(watched.account.account_id, "judging its loss limits", error)

    def _judge(self, watched: Watched) -> None:
        """Read the account, note what moved, and say what its entries may do."""
        self._turn(watched)
        account_id, limits = watched.account.account_id, watched.limits
        look = watched.look = self._marks.look(account_id, limits.counts_open_profit)
        if look.reading is not None and look.age_ms <= limits.stale_after_ms:
            self._measure(watched, look.reading)
            watched.ready = True
        standing = self._standing(watched)
        if self._state.standings.get(account_id) != standing:
            self._state.standings[account_id] = standing
        if standing.stop == "limit_equity_stale":
            self._tell_stale(watched, standing.text)
        for contract in self._marks.contracts(account_id) if look.text else ():
            self._watch_price(contract)
        self._withdraw(watched, standing)
        self._close_out(watched)

    def _turn(self, watched: Watched) -> None:
        now = self._state.clock.now()
        if watched.today.starts <= now < watched.today.ends:
            return
        current = limits_at(watched.account.prop, now)
        if current is not None:
            watched.limits, watched.today = current

    def _measure(self, watched: Watched, reading: Reading) -> None:
        """Marks first, then the rung that they lead to."""
        book, account, limits = self._state.book, watched.account, watched.limits
        account_id, now = account.account_id, self._state.clock.now()
        known, before = book.measures.get(account_id), book.standings.get(account_id)
        asked = self._asked(watched, known)
        if (
            asked is None
            and watched.quiet is not None
            and watched.quiet.holds(watched, known, before, reading)
        ):
            return
        measure = _measured(watched, known, reading, asked)
        if measure is not known:
            who, reason = (asked.who, asked.reason) if asked is not None else ("", "")
            mark = EquityMarked(account_id, measure, reading.balance, reading.equity, now, who, reason)
            self._log.secure(account.workspace, mark)
            measure = self._state.book.measures[account_id]
        found = uses(limits, measure, reading)
        standing = stands(limits, measure, found, before)
        low, high = quiet_between(limits, found)
        watched.quiet = Quiet(measure, before, limits, watched.today.day, reading.balance, low, high)
        if standing == before or (before is None and standing.rung == "clear"):
            return
        self._log.secure(
            account.workspace, LimitRung(account_id, standing, reading.equity, limits.version, now)
        )
        watched.quiet = watched.quiet._replace(standing=book.standings[account_id])
        self._tell(watched, measure, before, standing)

    def _asked(self, watched: Watched, known: Measure | None) -> NewStart | None:
        """The new start that somebody asked for and that was not begun yet."""
        asked, watched.asked = watched.asked, None
        stored = watched.account.new_start
        done = known.start_id if known is not None else 0
        return stored if stored is not None and stored.start_id > done else asked

    def _tell(self, watched: Watched, measure: Measure, before: Standing | None, standing: Standing) -> None:
        held = before if before is not None and before.holds(measure) else None
        if RANK[standing.told] > (RANK[held.told] if held is not None else 0):
            self._alert(_ALERTS[standing.rung], standing.text, watched.account.account_id)
        if standing.rung == "locked" and (held is None or held.rung != "locked"):
            watched.flattens = 0

    def _tell_stale(self, watched: Watched, text: str) -> None:
        now_ns = self._state.clock.monotonic_ns()
        told_ns = watched.told_stale_ns
        if told_ns is None or now_ns - told_ns >= STALE_ALERT_NS:
            watched.told_stale_ns = now_ns
            self._alert("limit-equity-stale", text, watched.account.account_id)

    def _standing(self, watched: Watched) -> PropStanding:
        """What plan and last look compare."""
        account_id, limits, look = watched.account.account_id, watched.limits, watched.look
        held = self._held(account_id)
        if held is not None and RANK[held.rung] >= RANK["reducing"]:
            return PropStanding(limits, held.rule, held.text)
        if not watched.ready:
            text = f"the account's equity is not known yet: {look.text}"
            return PropStanding(limits, "limit_equity_unknown", text)
        if look.age_ms > limits.stale_after_ms:
            why = look.text or "no newer price has come"
            age = f"its equity is {look.age_ms // 1000} s old ({limits.stale_after_ms / 1000:g} s allowed)"
            text = f"{age}: {why}; entries wait, exits go on"
            return PropStanding(limits, "limit_equity_stale", text)
        return PropStanding(limits)

    def _held(self, account_id: str) -> Standing | None:
        """Its standing, if it is of the present day and start."""
        book = self._state.book
        standing, measure = book.standings.get(account_id), book.measures.get(account_id)
        return standing if standing is not None and measure is not None and standing.holds(measure) else None

    def _withdraw(self, watched: Watched, standing: PropStanding) -> None:
        """While its entries stop nothing of it rests that could open something (R-102): at a rung, and while nobody
        knows its equity. After a start that is waited for first; where no cancel can leave it waits for the session.
        """
        account_id = watched.account.account_id
        if not standing.stop or not self._state.facts_of(account_id).live:
            return
        first_ns = self._state.clock.monotonic_ns() - watched.since_ns
        if standing.stop == "limit_equity_unknown" and first_ns < watched.limits.stale_after_ms * _NS_PER_MS:
            return
        self.follow(withdrawn_entries(self._state.book, account_id))

    def _close_out(self, watched: Watched) -> None:
        """A locked account is flattened until it is flat, also when something fills late. Judged by what is there, so
        that a restart goes on with it."""
        account = watched.account
        held = self._held(account.account_id)
        if held is None or held.rung != "locked" or not self._state.facts_of(account.account_id).live:
            return
        # One that failed is tried again by the flattener as long as the lock stands.
        if self._flattener.is_at_work(account.account_id) or not self._exposed(account):
            return
        watched.flattens += 1
        if watched.flattens > FLATTENS_MAX:
            if watched.flattens == FLATTENS_MAX + 1:
                text = (
                    f"a locked account holds something after {FLATTENS_MAX} flattens: close it at the broker"
                )
                self._alert("limit-flatten-failed", text, account.account_id)
            return
        name = f"{account.account_id} limit {self._state.clock.now().isoformat()}"
        self._flattener.start(account.workspace, [account.account_id], "limits", name)

    def _exposed(self, account: AccountConfig) -> bool:
        """It holds something by the broker's word, or has entries open."""
        if self._marks.contracts(account.account_id):
            return True
        return any(
            orders for (owner, _), orders in self._state.book.entries.items() if owner == account.account_id
        )

    # people ------------------------------------------------------------------------------------------------

    def watched(self, account_id: str) -> Watched | None:
        """An account with limits, as it was last looked at."""
        return self._watched.get(account_id)

    def restart(self, account_id: str, asked: NewStart) -> str:
        """Measure anew from the next look on (R-104). Why that cannot be; empty when it will be."""
        watched = self._watched.get(account_id)
        if watched is None:
            return "the account has no loss limits: see `kopitra limits set`"
        known = self._state.book.measures.get(account_id)
        watched.asked = asked._replace(start_id=known.start_id if known is not None else 0)
        self._look(watched)
        if self._watched[account_id].asked is not None:
            return (
                f"its equity is not known ({watched.look.text or 'too old'}): the new start begins when it is"
            )
        return ""


def _measured(watched: Watched, known: Measure | None, reading: Reading, asked: NewStart | None) -> Measure:
    limits, day = watched.limits, watched.today.day
    if asked is not None:
        return begun_anew(limits, day, reading, known, asked)
    return begun(limits, day, reading) if known is None else observed(known, limits, day, reading)
