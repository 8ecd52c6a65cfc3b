"""Folding drift and its repair: what stands, who closed what, which repairs were made."""

from decimal import Decimal

from kopitra.domain.attribution import close_by_hand, missing, within
from kopitra.domain.book import Book, Episode
from kopitra.domain.executions import PositionReport
from kopitra.domain.journal import DriftNoted, EntriesBlocked, PositionDiffers
from kopitra.domain.orders import ZERO
from kopitra.domain.repair import RepairPlan, RepairStep
from kopitra.domain.signals import sign
from kopitra.domain.sync import ACCEPTED_ORDERS_MAX, APPLIED_MAX, Drift, RepairTally, Sync, Unexplained

#: the `who` of repairs that nobody asked for
GATEWAY = "gateway"


def noted(book: Book, entry: DriftNoted | EntriesBlocked | PositionDiffers) -> None:
    """What a comparison, or a person after it, has said."""
    match entry:
        case DriftNoted():
            _drift(book, entry)
        case EntriesBlocked():
            _blocked(book, entry)
        case PositionDiffers():
            _differs(book, entry.report, entry.report.net_qty - entry.book_qty)


def _differs(book: Book, report: PositionReport, qty: Decimal) -> None:
    place, known = (report.account_id, report.symbol), book.sync.unexplained
    if not qty and place not in known:
        return
    known[place] = known.get(place, Unexplained(report.at)).read(qty, report.at)
    _forget_told(book, place)


def _forget_told(book: Book, place: tuple[str, str]) -> None:
    """All that reads showed there was told. What leaders have lost two reads tell: until then their exits are held to
    what is there."""
    beside = book.sync.unexplained.get(place)
    if beside is not None and not (beside.bought or beside.sold or beside.is_open or missing(book, *place)):
        del book.sync.unexplained[place]


def _drift(book: Book, entry: DriftNoted) -> None:
    sync, drift = book.sync, entry.drift
    place = (drift.account_id, drift.symbol)
    key = (*place, drift.leader, drift.kind)
    match entry.state:
        case "found" if drift.kind == "closed_by_hand":
            position = book.held(drift.account_id, drift.leader).get(drift.symbol)
            surplus = position.qty - drift.held if position is not None else ZERO
            # What is gone already, because this was journalled twice, is not gone again.
            close_by_hand(book, *place, drift.leader, within(drift.qty, surplus))
            _forget_told(book, place)
        case "found":
            sync.drifts[key] = drift
        case "parked":
            sync.parked[place] = entry.detail
        case "cleared":
            sync.drifts.pop(key, None)
            if not any(known[:2] == place for known in sync.drifts):
                sync.parked.pop(place, None)


def _blocked(book: Book, entry: EntriesBlocked) -> None:
    sync, place = book.sync, (entry.account_id, entry.symbol)
    if not entry.symbol:
        if entry.reason:
            book.blocked[entry.account_id] = entry.reason
        else:
            book.blocked.pop(entry.account_id, None)
            if (flatten := book.flattens.get(entry.account_id)) is not None and flatten.failed:
                del book.flattens[entry.account_id]
    elif entry.reason:
        sync.blocked[place] = entry.reason
        sync.foreign_orders.pop(place, None)
        if entry.orders:
            sync.foreign_orders[place] = entry.orders
    else:
        sync.blocked.pop(place, None)
        orders = sync.foreign_orders.pop(place, ())
        if entry.who:
            _begin_anew(sync, place)
            _accept(sync, place, orders)


def _accept(sync: Sync, place: tuple[str, str], orders: tuple[str, ...]) -> None:
    """A person has looked: what is foreign there belongs there."""
    external: Drift | None = sync.drifts.pop((*place, "", "external"), None)
    if external is not None:
        sync.accepted[place] = -external.qty
    if orders:
        sync.accepted_orders[place] = (*sync.accepted_orders.get(place, ()), *orders)[-ACCEPTED_ORDERS_MAX:]


def _begin_anew(sync: Sync, place: tuple[str, str]) -> None:
    sync.parked.pop(place, None)
    if place in sync.repairs:
        sync.repairs[place].times.clear()


def begin_repair(book: Book, plan: RepairPlan, who: str) -> bool:
    """Count a repair and set the targets of what it opens; False when this very plan was applied before."""
    sync = book.sync
    if plan.plan_id in sync.applied:
        return False
    sync.applied[plan.plan_id] = None
    if len(sync.applied) > APPLIED_MAX:
        sync.applied.popitem(last=False)
    sent = [step for step in plan.steps if step.approved is not None]
    for place in sorted({(step.drift.account_id, step.drift.symbol) for step in sent}):
        tally = sync.repairs.setdefault(place, RepairTally())
        tally.count += 1
        if who == GATEWAY:
            tally.times.append(plan.made_at)
        else:
            _begin_anew(sync, place)
    for step in sent:
        _opened(book, step)
    return True


def _opened(book: Book, step: RepairStep) -> None:
    """What a repair opens is wanted from now on: without that it would be closed again as it fills."""
    intent = step.approved.intent if step.approved is not None else None
    if intent is None or intent.role != "entry":
        return
    drift = step.drift
    key = (drift.leader, drift.account_id, drift.root)
    signed = intent.qty * sign(intent.side)
    episode, scale = book.episodes.get(key), step.allocation
    if episode is not None:
        episode.target = signed if episode.target * signed < 0 else episode.target + signed
    elif scale is not None:
        book.episodes[key] = Episode(scale.num, scale.den, scale.peak, signed)
    closed = book.sync.by_hand.get(key, ZERO)
    if drift.kind == "closed_by_hand" and closed:
        left = max(ZERO, abs(closed) - intent.qty)
        if left:
            book.sync.by_hand[key] = left if closed > 0 else -left
        else:
            del book.sync.by_hand[key]
