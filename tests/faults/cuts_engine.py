"""Safeguards of the engine, taken out one at a time (T-90): each public function here is one cut."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from brokers._kit import budget
from brokers._kit.breaker import Blocked, Breaker, CallKind, Permit
from gateway_container.engine import lookup, machine, queue, recovery
from gateway_container.engine.admission import Admission, Declined
from gateway_container.engine.brake import Brake
from gateway_container.engine.exit_file import ExitLog
from gateway_container.engine.fanout import Fanout
from gateway_container.engine.flip_guard import FlipGuard, Held, Judged
from gateway_container.engine.last_look import LastLook
from gateway_container.engine.log import Fact, Log
from gateway_container.engine.lookup import Lookup
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.recovery import Refold
from gateway_container.engine.state import State
from kopitra.domain import attribution, case, news
from kopitra.domain.book import Book
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.orders import ZERO, ChildOrder, OrderIntent
from kopitra.domain.way_out import WayOut
from kopitra.ports import Forecast
from kopitra.store.lease import Lease
from tests.faults.knife import Knife, always
from tests.faults.rude_session import RudeSession
from tests.faults.rude_words import Place as Placement


def send_before_commit(knife: Knife) -> None:
    """Orders leave while their row is on its way."""
    real = Fanout.prepare

    def prepare(self: Fanout, plan: FanoutPlan, stamp: Stamp) -> list[Place]:
        self.dispatch(real(self, plan, stamp), stamp.planned_ns)
        return []

    knife.swap(Fanout, "prepare", prepare)


def send_again_without_answer(knife: Knife) -> None:
    """A session that hears nothing writes the same order once more."""
    real = RudeSession._give_up

    def give_up(self: RudeSession, key: str, reason: str) -> None:
        found = self._waiting.get(key)
        real(self, key, reason)
        if found is not None and isinstance(found[0], Placement) and self._line is not None:
            self._broker.receive(self._line, found[0])

    knife.swap(RudeSession, "_give_up", give_up)


def doubts_do_not_block(knife: Knife) -> None:
    """The last look lets an entry pass although another one of its contract is in doubt."""
    real = LastLook._overtaken

    def overtaken(self: LastLook, intent: OrderIntent) -> str | None:
        found = real(self, intent)
        return None if found == "in_doubt" else found

    knife.swap(LastLook, "_overtaken", overtaken)


def leaders_who_left_are_followed(knife: Knife) -> None:
    """Neither the plan of the leader's exit takes back what has not left, nor does the last look ask for it: each alone
    is enough where the leader stays out."""
    real = LastLook._overtaken
    unsent_entries_stay(knife)

    def overtaken(self: LastLook, intent: OrderIntent) -> str | None:
        found = real(self, intent)
        return None if found == "leader_left" else found

    knife.swap(LastLook, "_overtaken", overtaken)


def unsent_entries_stay(knife: Knife) -> None:
    """A leader's exit leaves what is durable and not written yet to the last look."""

    def unsent(order: ChildOrder) -> bool:
        return order.state == "planned"

    knife.swap(ChildOrder, "unsent", property(unsent))


def exits_are_not_cut(knife: Knife) -> None:
    """A close leaves with the size it was planned with."""
    knife.swap(LastLook, "_cap", always(None))


def exits_believe_the_book(knife: Knife) -> None:
    """A close is cut to what the book attributes, whatever a read has shown."""

    def attributed(book: Book, account_id: str, contract: str, leader: str) -> Decimal:
        position = book.held(account_id, leader).get(contract)
        return ZERO if position is None else position.qty

    knife.everywhere(attribution.closable, attributed)


def switches_are_not_looked_at(knife: Knife) -> None:
    """No kill switch is asked before the write."""
    knife.swap(LastLook, "_stopped", always(False))


def moves_ask_nobody(knife: Knife) -> None:
    """A resting entry is moved whatever stops entries."""
    knife.swap(LastLook, "move_refusal", always(None))


def blocks_after_the_plan_stop_nothing(knife: Knife) -> None:
    """Before the write nobody asks whether the account or contract was blocked meanwhile."""
    knife.everywhere(case.blocked, always(""))


def deadlines_of_leases_are_not_looked_at(knife: Knife) -> None:
    """The local end of the lease is not compared before the write."""
    knife.swap(LastLook, "_past_lease", always(None))


def deadlines_of_entries_are_not_kept(knife: Knife) -> None:
    """What waited too long leaves all the same."""
    knife.swap(queue.AccountQueue, "overdue", always(iter(())))


def no_take_over_wait(knife: Knife) -> None:
    """After a dirty take-over entries leave at once."""
    real = LastLook._entry

    def entry(self: LastLook, place: Place, now_ns: int) -> str | None:
        self.entries_from_ns = 0
        return real(self, place, now_ns)

    knife.swap(LastLook, "_entry", entry)


def old_snapshots_count(knife: Knife) -> None:
    """A read that began before the newest execution judges quantities (R-004)."""

    def executed(self: State, report: ExecutionReport) -> None:
        if report.last_px is not None:
            self.price_seen(report.symbol, report.last_px)

    knife.swap(State, "executed", executed)


def listings_are_ignored(knife: Knife) -> None:
    """What a broker lists after a reconnect is not taken in."""
    knife.everywhere(news.is_news, always(False))


def claims_are_forgotten(knife: Knife) -> None:
    """A start does not doubt what was claimed and never answered."""
    knife.everywhere(recovery.doubt_unresolved, always(0))


def nothing_is_caught_up(knife: Knife) -> None:
    """A start does not follow what its predecessor did not follow."""
    knife.swap(machine, "catch_up", always(None))


def unclear_commits_are_believed(knife: Knife) -> None:
    """The book is not read again when memory and journal may differ."""
    knife.swap(Refold, "request", always(None))


def facts_do_not_wait(knife: Knife) -> None:
    """What a broker said while the database was away is not kept for the journal."""

    def keep(_self: Log, _fact: Fact) -> None:
        """Lost."""

    knife.swap(Log, "_keep", keep)


def exit_files_are_not_read(knife: Knife) -> None:
    """A start leaves the exits of its predecessor in the file."""

    async def load(_self: ExitLog, _newest: object) -> list[str]:
        return []

    knife.swap(ExitLog, "load", load)


def held_orders_never_left(knife: Knife) -> None:
    """What a lost exit file may have let go counts as held."""
    knife.swap(machine, "doubt_held", always(0))


def nobody_asks_for_the_lease(knife: Knife) -> None:
    """A lease that was lost before anybody listened is thought to be held."""
    knife.swap(Lease, "check", always(None))


def nobody_looks_doubts_up(knife: Knife) -> None:
    """An order in doubt is left to whatever the streams tell."""

    async def run(_self: Lookup, _account_id: str) -> None:
        await asyncio.sleep(0)

    knife.swap(Lookup, "_run", run)


def orders_are_written_again(knife: Knife) -> None:
    """What was written is written again when it is dispatched again."""
    knife.swap(Fanout, "_repeated", always(None))


def turns_are_closed_for_ever(knife: Knife) -> None:
    """A flatten closes whatever it sees, however often the side turns."""

    def look(_self: FlipGuard, held: Held) -> Judged:
        return Judged(held, (), ())

    knife.swap(FlipGuard, "look", look)


def runaways_are_not_braked(knife: Knife) -> None:
    """Nobody counts orders."""
    knife.swap(Brake, "wrote", always(None))


def the_list_goes_first(knife: Knife) -> None:
    """Where a budget is short, the same followers are served every time."""

    def share(_self: Admission, group: list[Place], need: int, room: Forecast) -> list[Declined]:
        del need
        return [Declined(place, "no room") for place in group[room.entries :]]

    knife.swap(Admission, "_share", share)


def no_reserve(knife: Knife) -> None:
    """Entries may use the whole budget of a login."""
    knife.swap(budget, "_CEILINGS", dict.fromkeys(budget._CEILINGS, 1.0))


def nobody_counts_the_way_out(knife: Knife) -> None:
    """Entries leave only the fixed share of a budget, whatever closing them would cost."""
    knife.swap(WayOut, "count", always(None))


def breakers_probe_with_anything(knife: Knife) -> None:
    """A breaker that is open lets calls pass that are no reads."""
    real = Breaker.ask

    def ask(self: Breaker, kind: CallKind) -> Permit | Blocked:
        return real(self, "read" if kind == "entry" else kind)

    knife.swap(Breaker, "ask", ask)


def displaced_by_nothing(knife: Knife) -> None:
    """A full queue refuses exits like entries."""
    real = queue.AccountQueue.push

    def push(self: queue.AccountQueue, place: Place) -> Place | None:
        return place if self.waiting >= queue.WAITING_MAX else real(self, place)

    knife.swap(queue.AccountQueue, "push", push)


def strangers_are_ignored(knife: Knife) -> None:
    """Orders with our ids that the journal lost are not told."""

    def strangers(_book: Book, _orders: Sequence[ExecutionReport]) -> list[ExecutionReport]:
        return []

    knife.everywhere(news.strangers, strangers)


def part_is_the_whole(knife: Knife) -> None:
    """A read that told only a part counts as whole."""

    def is_whole(_snapshot: AccountSnapshot, _offers: object) -> bool:
        return True

    knife.swap(lookup, "_is_whole", is_whole)


def successors_count_from_nothing(knife: Knife) -> None:
    """A process that takes a shard over knows nothing of the requests before it."""

    async def spent_lately(_shelf: object, _shard: str, _state: State) -> dict[str, list[int]]:
        return {}

    knife.swap(machine, "spent_lately", spent_lately)
