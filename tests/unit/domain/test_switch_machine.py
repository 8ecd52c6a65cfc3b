"""T-10 "kill switch": any order of throws, lifts, late and repeated notices, restarts and lost reads lets no entry out
that a naive model would not, and never holds an exit back that it would let go (I-06, R-091, R-092, R-093)."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway_container.engine.config import EMPTY, AccountConfig
from gateway_container.engine.last_look import LastLook
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.state import State
from kopitra.domain.book import Book, Episode
from kopitra.domain.fold import fold
from kopitra.domain.journal import Entry, FollowUp, SwitchChanged
from kopitra.domain.orders import OrderIntent
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState
from kopitra.ports import Encoded
from kopitra.store.encoding import Decoder, encode
from tests.machines import MACHINE

ACCOUNTS = {
    "a1": AccountConfig("a1", "w1", "a1", "x", "l1", "n1"),
    "a2": AccountConfig("a2", "w1", "a2", "y", "l2", "n2"),
    "a3": AccountConfig("a3", "w2", "a3", "x", "l3", "n3"),
}
SCOPES: list[tuple[SwitchScope, str]] = [
    ("global", ""), ("workspace", "w1"), ("workspace", "w2"), ("leader", "lead"),
    ("broker", "x"), ("broker", "w1/x"), ("broker", "w2/y"), ("account", "a1"), ("account", "a3"),
]  # fmt: skip
STATES: list[SwitchState] = ["active", "reducing", "halted"]
READ_NS = 5_000_000_000
ONE = Decimal(1)


@dataclass
class Hand:
    """A clock, and a lease that does not end."""

    ns: int = 1
    valid_until_ns: int = 2**62
    exits_until_ns: int = 2**62

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return self.ns


def covers(scope: SwitchScope, scope_id: str, account: AccountConfig, leader: str) -> bool:
    """The naive word for what a scope means."""
    names = {
        "global": [""], "workspace": [account.workspace], "leader": [leader],
        "broker": [account.broker, f"{account.workspace}/{account.broker}"], "account": [account.account_id],
    }  # fmt: skip
    return scope_id in names[scope]


class KillSwitches(RuleBasedStateMachine):
    """The last look over a folded board, against a dictionary of the newest change per scope."""

    @initialize()
    def start(self) -> None:
        self.hand = Hand()
        self.state = State(self.hand)
        self.state.config = replace(EMPTY, accounts=ACCOUNTS)
        self.look = LastLook(self.state, self.hand)
        self.newest: dict[tuple[SwitchScope, str], KillSwitch] = {}
        self.journal: list[bytes] = []
        self.notices: list[KillSwitch] = []
        self.orders = 0

    def take(self, switch: KillSwitch) -> None:
        known = self.newest.get((switch.scope, switch.scope_id))
        if known is None or known.epoch < switch.epoch:
            self.newest[switch.scope, switch.scope_id] = switch
        entry = SwitchChanged(switch)
        self.journal.append(encode(entry))
        fold(self.state.book, entry)

    @rule(scope=st.sampled_from(SCOPES), state=st.sampled_from(STATES), lifting=st.booleans())
    def throw(self, scope: tuple[SwitchScope, str], state: SwitchState, lifting: bool) -> None:
        epoch = self.state.book.switches.epoch(*scope) + 1
        switch = KillSwitch(*scope, state, "why", "ann", epoch, lifting and state == "reducing")
        self.notices.append(switch)
        self.take(switch)

    @rule(data=st.data())
    def a_notice_comes_late_or_again(self, data: st.DataObject) -> None:
        if self.notices:
            self.take(data.draw(st.sampled_from(self.notices)))

    @rule()
    def restart(self) -> None:
        self.state.book = Book()
        read = Decoder(SwitchChanged)
        for payload in self.journal:
            fold(self.state.book, read(payload))

    @rule(seconds=st.sampled_from([1, 4, 6]))
    def time_passes(self, seconds: int) -> None:
        self.hand.ns += seconds * 1_000_000_000

    @rule()
    def the_switches_are_read(self) -> None:
        self.state.switches_until_ns = self.hand.ns + READ_NS

    @invariant()
    def what_leaves_is_what_may(self) -> None:
        if not hasattr(self, "state"):
            return
        unread = self.hand.ns >= self.state.switches_until_ns
        for account in ACCOUNTS.values():
            found = {
                s.state for s in self.newest.values() if covers(s.scope, s.scope_id, account, "lead")
            } | ({"reducing"} if unread else set[SwitchState]())
            assert (self.refusal(account, "entry", "lead") is None) is (found <= {"active"})
            assert (self.refusal(account, "stop", "lead") is None) is ("halted" not in found)
            assert self.refusal(account, "exit", "") is None  # a flatten's own close
            seen = "halted" if "halted" in found else "reducing" if "reducing" in found else "active"
            assert self.state.switch(account, "lead") == seen

    def refusal(self, account: AccountConfig, role: str, leader: str) -> str | None:
        """What the last look says of an order of this role, right before its write."""
        self.orders += 1
        intent = OrderIntent(
            f"c{self.orders}", "l", account.account_id, leader, "e", role, "ESZ6", "buy", ONE,  # type: ignore[arg-type]
            reduce_only=role != "entry",
        )  # fmt: skip
        entry: Entry = FollowUp("test", account.account_id, released=(intent,))
        self.state.book.episodes["lead", account.account_id, "ES"] = Episode(ONE, ONE, ONE, ONE)
        fold(self.state.book, entry)
        place = Place(intent, (), Encoded(intent.cl_ord_id, account.account_id, b""), Stamp(0, 0, 0), 2**62)
        said = self.look.refusal(place, self.hand.ns)
        del self.state.book.orders[intent.cl_ord_id]
        del self.state.book.open[account.account_id, leader][intent.cl_ord_id]
        return said


TestKillSwitches = KillSwitches.TestCase
TestKillSwitches.settings = MACHINE
