"""Safeguards of the domain and of the store, taken out one at a time (T-90): each public function here is one cut."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from typing import Final

from gateway_container.engine import exit_file
from kopitra.domain import doubt, foreign_orders, ids, lateness, measuring, react, risk, steps, streams, sync
from kopitra.domain.book import Book
from kopitra.domain.journal import EntriesBlocked
from kopitra.domain.measuring import Measure
from kopitra.domain.orders import ChildOrder, OrderIntent
from kopitra.domain.risk import Approved, Refused, RiskInputs
from kopitra.domain.signals import Signal
from kopitra.domain.streams import LeaderStream
from kopitra.domain.switches import Covered, KillSwitch, SwitchBoard, SwitchState
from kopitra.store import append_sql
from tests.faults.cuts_engine import doubts_do_not_block
from tests.faults.knife import Knife, always


def one_read_is_proof(knife: Knife) -> None:
    """One whole read without the order proves that the broker never had it."""
    real = doubt.looked

    def looked(before: doubt.Doubt, read: doubt.Read, sight: doubt.Sight) -> doubt.Finding:
        good = read.whole and read.life and read.current and read.started_ns >= before.since_ns
        return doubt.Absent(read, read) if good and sight.authoritative else real(before, read, sight)

    knife.everywhere(doubt.looked, looked)


def reads_need_no_distance(knife: Knife) -> None:
    """Two reads at once prove as much as two that are T_vis apart."""
    knife.swap(doubt.Sight, "t_vis_ns", property(always(0)))


def entries_are_sent_again(knife: Knife) -> None:
    """An absent entry is sent again whatever rule and broker say."""
    real = doubt.resent

    def resent(book: Book, order: doubt.ChildOrder, may: doubt.Resend) -> object:
        return real(book, order, may._replace(wanted=True, dedups_for_ever=True, max_age_ms=may.age_ms))

    knife.everywhere(doubt.resent, resent)


def doubts_block_nothing(knife: Knife) -> None:
    """Neither the plan nor the last look asks whether an entry of the contract is in doubt."""
    doubts_do_not_block(knife)
    _inputs(knife, lambda inputs: inputs._replace(in_doubt=False))


def entries_have_no_age(knife: Knife) -> None:
    """However old a signal is, its entries leave."""
    _inputs(knife, lambda inputs: inputs._replace(age_ms=0))


def _inputs(knife: Knife, change: Callable[[RiskInputs], RiskInputs]) -> None:
    real = risk.check_entry

    def check_entry(intent: OrderIntent, inputs: RiskInputs, *more: object) -> Approved | Refused:
        return real(intent, change(inputs), *more)  # pyright: ignore[reportArgumentType] - passed on as they came

    knife.everywhere(risk.check_entry, check_entry)


def no_tombstones(knife: Knife) -> None:
    """The close of a leader's order is forgotten when its open comes late."""
    knife.swap(streams, "_is_buried", always(False))


def tickets_open_twice(knife: Knife) -> None:
    """The same act of a leader under another key is another act."""
    real = streams.judge

    def judge(signal: Signal, stream: LeaderStream | None, knows: Callable[[str], bool]) -> streams.Verdict:
        found = real(signal, stream, knows)
        return "" if found == "semantic_duplicate" else found

    knife.everywhere(streams.judge, judge)


def old_numbers_count(knife: Knife) -> None:
    """A number that its sender has passed is as good as a new one."""
    real = streams.judge

    def judge(signal: Signal, stream: LeaderStream | None, knows: Callable[[str], bool]) -> streams.Verdict:
        found = real(signal, stream, knows)
        return "" if found == "old_sequence" else found

    knife.everywhere(streams.judge, judge)


def executions_count_each_time(knife: Knife) -> None:
    """Whatever a broker tells again is counted again."""
    real = Book.is_new_execution

    def is_new(self: Book, account_id: str, exec_id: str, qty: Decimal, at: datetime) -> bool:
        real(self, account_id, exec_id, qty, at)
        return True

    knife.swap(Book, "is_new_execution", is_new)


def ids_are_drawn(knife: Knife) -> None:
    """Another id each time it is asked for."""
    real, numbers = ids.cl_ord_id, iter(range(10**9))

    def cl_ord_id(list_id_: str, account_id: str, leg: str) -> str:
        return real(f"{list_id_}{next(numbers)}", account_id, leg)

    knife.everywhere(ids.cl_ord_id, cl_ord_id)


def late_fills_stay(knife: Knife) -> None:
    """Exposure beyond the target is left to itself."""
    knife.swap(react._Made, "trim", always(None))


def closes_do_not_wait(knife: Knife) -> None:
    """A close does not wait for the cancels that go before it."""
    real = steps.shrink

    def shrink(*given: object) -> steps.Exits:
        made = real(*given)  # pyright: ignore[reportArgumentType] - passed on as they came
        now = tuple(order._replace(intent=order.intent._replace(after=())) for order in made.orders)
        return made._replace(orders=now)

    knife.everywhere(steps.shrink, shrink)


def stops_stay(knife: Knife) -> None:
    """Protective orders do not follow the holding."""
    knife.swap(react._Made, "tidy", always(None))


def answers_fit_no_stop(knife: Knife) -> None:
    """The order that was just heard stays as large as it is."""

    def is_left(made: react._Made, order: ChildOrder) -> bool:
        return made._heard and order is made._order

    knife.swap(react._Made, "_is_left_as_it_is", is_left)


def held_entries_have_no_age(knife: Knife) -> None:
    """However long a held entry waited, it leaves."""
    knife.everywhere(lateness.is_stale, always(False))


def repairs_never_tire(knife: Knife) -> None:
    """Drift is repaired as often as it shows."""

    def may_repair(_self: sync.Sync, _account_id: str, _symbol: str, _now: datetime) -> bool:
        return True

    knife.swap(sync.Sync, "may_repair", may_repair)


def foreign_contracts_are_welcome(knife: Knife) -> None:
    """Entries go on where something is held that is not ours."""
    _no_block(knife, foreign_orders.EXTERNAL)


def foreign_orders_stop_nothing(knife: Knife) -> None:
    """Entries go on where orders work that are not ours."""
    _no_block(knife, foreign_orders.FOREIGN_ORDERS)


def _no_block(knife: Knife, reason: str) -> None:
    real = foreign_orders.blocks

    def blocks(
        book: Book, account_id: str, confirmed: Mapping[str, tuple[str, ...]], unsure: AbstractSet[str]
    ) -> list[EntriesBlocked]:
        return [entry for entry in real(book, account_id, confirmed, unsure) if entry.reason != reason]

    knife.everywhere(real, blocks)


def peaks_follow_the_newest(knife: Knife) -> None:
    """The newest mark counts, also when it is lower."""

    def merged(_known: Measure | None, told: Measure) -> Measure:
        return told

    knife.everywhere(measuring.merged, merged)


def the_first_switch_counts(knife: Knife) -> None:
    """Of several switches the one that was found first counts, not the most restrictive."""

    def effective(self: SwitchBoard, covered: Covered) -> SwitchState:
        known = [switch for key in covered.scopes() if (switch := self.get(*key)) is not None]
        return known[0].state if known else "active"

    knife.swap(SwitchBoard, "effective", effective)


def old_switches_count(knife: Knife) -> None:
    """A change that is older than what is known is taken all the same."""
    real = SwitchBoard.set

    def set_(self: SwitchBoard, switch: KillSwitch) -> bool:
        self._switches.pop((switch.scope, switch.scope_id), None)
        return real(self, switch)

    knife.swap(SwitchBoard, "set", set_)


def executions_are_news(knife: Knife) -> None:
    """An execution that is told after a read is never one that the read has shown."""

    def heard(beside: sync.Unexplained, _qty: Decimal, _at: datetime) -> sync.Unexplained:
        return beside

    knife.swap(sync.Unexplained, "heard", heard)


# the store's own rules, as its statements say them


def epochs_are_not_checked(knife: Knife) -> None:
    """An append passes whatever epoch the lease row has."""
    _statements(knife, "epoch = $2", "$2::int8 is not null")


def signals_may_come_again(knife: Knife) -> None:
    """A signal that was planned is planned again, and nobody is told."""
    _statements(knife, "insert into signal_ids select $7, $10, $1, $3 from held", _QUIET)
    _statements(knife, "unnest($10, $11, $12) as t (w, id, s)", _QUIET)


def answers_may_come_again(knife: Knife) -> None:
    """A key that was answered is answered anew."""
    for first in ("$10, $11, $12, $13, $14, $15", "$11, $12, $13, $14, $15, $16"):
        _statements(knife, f"insert into idempotency select $7, {first}, $4 from held", _QUIET)
    _statements(knife, "unnest($13, $14, $15, $16, $17, $18, $19, $20) as t", _QUIET)


#: behind the text instead of in its place
_QUIET: Final = " on conflict do nothing"


def _statements(knife: Knife, text: str, made: str) -> None:
    """Replace a text in all statements, or put `_QUIET` behind it. KeyError when none has it."""
    before = append_sql.STATEMENTS
    wanted = text + made if made is _QUIET else made
    after = {name: (types, said.replace(text, wanted)) for name, (types, said) in before.items()}
    if after == before:
        raise KeyError(text)
    knife.everything(append_sql, "STATEMENTS", after)


def exit_records_come_again(knife: Knife) -> None:
    """The journal takes a record of the exit file as often as it is offered."""
    knife.swap(exit_file, "once", always(None))
