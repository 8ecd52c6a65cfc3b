"""The last judgement: everything is healed, everybody has said what they had to say, now it must become quiet (H-6)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gateway_container.engine.machine import Machine
from kopitra.domain.book import Book, root_of
from kopitra.domain.foreign_orders import FOREIGN_ORDERS
from kopitra.domain.orders import TERMINAL, ChildOrder
from tests.faults.house import EA_LEADER
from tests.faults.outcome import Accounts

if TYPE_CHECKING:
    from tests.faults.world import World

#: virtual seconds after the healing in which everything must be settled
QUIET_WITHIN_S: Final = 120.0
#: states that may stand when a person has been told
_TOLD: Final = frozenset({"in_doubt", "parked"})
#: nothing of such an order may have reached a broker
_NEVER: Final = frozenset({"skipped", "not_placed", "planned"})


def unsettled(world: "World") -> Iterator[tuple[str, str]]:
    """What still keeps the world from being quiet: (invariant, sentence)."""
    machine = world.machine
    if machine is None:
        yield "I-03", "no gateway serves"
        return
    yield from _waiting(world, machine)
    world.view.follow()
    for name, child in _open(machine.state.book):
        if child.state not in _TOLD or not world.view.alerted.get(name):
            yield "I-03", f"{name} ({child.intent.role} of {child.intent.account_id}) is {child.state}"
    yield from _brokers(world)
    yield from _foreign(world, machine.state.book)
    yield from _uncounted(world, machine.state.book)


def _uncounted(world: "World", book: Book) -> Iterator[tuple[str, str]]:
    """I-08: every fill is counted, once. One that the stream lost is in the lists that the next comparison reads."""
    filled = _filled(world)
    for name, child in sorted(book.orders.items()):
        if child.state not in _TOLD and int(child.cum_qty) != filled.get(name, 0):
            known = f"filled {filled.get(name, 0)} at the broker, {child.cum_qty} in the book"
            yield "I-08", f"{name} ({child.state}) {known}"


def _brokers(world: "World") -> Iterator[tuple[str, str]]:
    """What still stands at the followers' accounts."""
    for account_id in sorted(world.followers):
        broker = world.brokers[world.broker_of(account_id)]
        for order in broker.live_orders(account_id):
            if order.cl_ord_id is not None:
                yield "I-03", f"{order.cl_ord_id} works at {broker.code}"
        for symbol, qty in sorted(broker.net(account_id).items()):
            if not world.is_explained(account_id, symbol):
                yield "I-09", f"{account_id} holds {qty} {symbol}, its leaders are flat"


def _foreign(world: "World", book: Book) -> Iterator[tuple[str, str]]:
    """Entries stop where somebody else's orders work, and nowhere else. An entry in doubt stops them by itself (R-013),
    and what works there may be that very one."""
    doubtful = {place for place, entries in book.entries.items() if entries.keys() & book.doubts.keys()}
    stopped = {place for place, why in book.sync.blocked.items() if why == FOREIGN_ORDERS}
    for account_id in sorted(world.followers):
        orders = world.brokers[world.broker_of(account_id)].live_orders(account_id)
        found = {(account_id, o.symbol) for o in orders if o.cl_ord_id is None}
        for _, symbol in sorted(found - book.sync.blocked.keys() - doubtful):
            yield "R-043", f"somebody else's order in {symbol} works at {account_id}, and entries go on"
        for _, symbol in sorted({p for p in stopped if p[0] == account_id} - found):
            yield (
                "R-043",
                f"entries in {symbol} at {account_id} are stopped, and no foreign order works there",
            )


def _waiting(world: "World", machine: Machine) -> Iterator[tuple[str, str]]:
    if not world.ea.is_idle:
        yield "P3", "the EA has not been answered"
    if machine.fanout.waiting or machine.log.backlog:
        yield "I-24", f"{machine.fanout.waiting} orders, {machine.log.backlog} facts wait"
    elif not machine.log.is_quiet:  # what was heard a moment ago is in the book before it is in the journal
        yield "I-24", "facts are on their way into the journal"
    for account_id in sorted(machine.state.config.accounts):
        session = machine.sessions.of(account_id)
        if session is None or session.state != "live":  # a holder that has just begun has none
            yield "R-057", f"the session of {account_id} is {'missing' if session is None else session.state}"


def _open(book: Book) -> list[tuple[str, ChildOrder]]:
    return [(n, c) for n, c in sorted(book.orders.items()) if c.state not in TERMINAL]


def judge(world: "World") -> None:
    """Accounting, once it is quiet."""
    machine, checker = world.machine, world.checker
    if machine is None:
        return
    world.view.follow()
    _accepted(world)
    world.accounts = _accounted(world)
    _ledger(world)
    book = machine.state.book
    told = {name: child for name, child in book.orders.items() if child.state not in _TOLD}
    for name, child in sorted(told.items()):
        if child.state in _NEVER and checker.placements[name]:
            checker.broken("R-002", f"{name} is {child.state}, but the broker was asked for it")
    _folds_again(world, book)


def _accepted(world: "World") -> None:
    """I-02: what was answered by 202 has its plan, and the plan has every follower; I-15: one answer per key."""
    checker = world.checker
    for told in world.told:
        plans = world.view.plans.get(told.signal_id, [])
        if len(plans) != 1:
            checker.broken("I-02", f"{told.signal_id} was accepted and has {len(plans)} plans")
            continue
        legs = [leg.account_id for leg in plans[0][2].legs]
        wanted = sorted(rule.account_id for rule in world.config.rules_for(EA_LEADER))
        if any(legs.count(account) != max(1, len(plans[0][2].acts)) for account in wanted):
            checker.broken("I-02", f"{told.signal_id} has legs for {legs}, its followers are {wanted}")
    for text in world.ea.disagreements:
        checker.broken("I-15", text)


def _accounted(world: "World") -> Accounts:
    """I-04: what the EA tried against what the journal planned for it. What it was never told is unexpected."""
    tried, checker = world.ea.tried, world.checker
    acknowledged = {told.signal_id for told in world.told}
    planned = {n: p for n, p in world.view.plans.items() if any(s.leader == EA_LEADER for _, s, _ in p)}
    for signal_id, plans in sorted(planned.items()):
        if signal_id not in tried:
            checker.broken("I-04", f"{signal_id} is planned, and its leader never told it")
        elif len(plans) > 1:
            checker.broken("I-04", f"{signal_id} is planned {len(plans)} times")
        elif signal_id not in acknowledged:
            checker.broken("I-04", f"{signal_id} is planned, and its sender was told that it is not")
    recovered = sum(unclear and len(planned.get(name, ())) == 1 for name, unclear in tried.items())
    return Accounts(len(tried), len(acknowledged), recovered)


def _ledger(world: "World") -> None:
    """I-07: every order of ours at a broker is in the journal; I-01 once more, by the ledger itself."""
    checker = world.checker
    for broker in world.brokers:
        for name, rows in sorted(broker.core.ledger.placements_by_tag().items()):
            taken = sum(row.outcome == "accepted" for row in rows)
            if taken > 1:
                checker.broken("I-01", f"{name} is {taken} times in the ledger of {broker.code}")
            if name not in world.view.children and name not in world.view.strangers:
                checker.broken("I-07", f"{name} is in the ledger of {broker.code} and not in the journal")


def _filled(world: "World") -> dict[str, int]:
    filled: dict[str, int] = {}
    for broker in world.brokers:
        for fill in broker.core.executions():
            if fill.cl_ord_id is not None:
                filled[fill.cl_ord_id] = filled.get(fill.cl_ord_id, 0) + fill.qty
    return filled


def _folds_again(world: "World", book: Book) -> None:
    """The book is folded from the journal and from nothing else: another fold of it says the same."""
    again = world.view.book
    for name, child in sorted(book.orders.items()):
        other = again.orders.get(name)
        if other is None or (other.state, other.cum_qty) != (child.state, child.cum_qty):
            said = None if other is None else f"{other.state} {other.cum_qty}"
            world.checker.broken("I-12", f"{name} is {child.state} {child.cum_qty}, the journal says {said}")
    for (account, contract), position in sorted(book.positions.items()):
        other_qty = again.positions[account, contract].qty if (account, contract) in again.positions else 0
        if other_qty != position.qty:
            text = f"{account} {root_of(contract)}: book {position.qty}, journal {other_qty}"
            world.checker.broken("I-12", text)
