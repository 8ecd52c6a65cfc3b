"""The demo's figures: counts, the ledgers' verdict, and hop times against their budget."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cli.local.floor import Floor, Placed
from cli.local.signal_view import SignalSeen
from cli.local.stage import SHARD, sim_name
from gateway_container.engine.recovery import decode_row
from kopitra.domain.journal import OrdersSent, Reported
from kopitra.store.journal_reader import replay
from kopitra.store.pool import Database

_US_PER_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop, what it is from and to, its budget in milliseconds and the quantile that it is held against."""

    name: str
    title: str
    way: str
    budget_ms: int
    quantile: str


#: the order of the way
HOPS: Final = (
    Hop("detection", "detection", "the leader's fill ... received", 50, "p95"),
    Hop("normalise_publish", "normalise + publish", "received ... planned and durable", 25, "p95"),
    Hop("dispatch", "fan-out dispatch", "durable ... written to the broker", 10, "p95"),
    Hop("broker", "broker API", "written ... answered", 800, "p95"),
    Hop("collect_publish", "collect + publish", "the broker's fill ... noted", 50, "p95"),
    Hop("end_to_end", "end to end, typical", "the act ... the copy is filled", 1_000, "p50"),
    Hop("end_to_end", "end to end, worst", "the act ... the copy is filled", 3_000, "max"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the journal decided against what the simulators' ledgers hold."""

    duplicates: int
    lost: int
    differences: tuple[str, ...]


async def verdict(db: Database, floors: Sequence[Floor], accounts: Mapping[str, int]) -> Verdict:
    """Each order that the journal says was sent stands in the ledger exactly once, and no other of ours does.

    `accounts`: follower -> place of its broker.
    """
    sent: set[str] = set()
    async for row in replay(db, SHARD):
        if row.entry == OrdersSent.__name__:
            entry = decode_row(row)
            if isinstance(entry, OrdersSent):
                sent |= {fact.cl_ord_id for fact in entry.sent if fact.orig_cl_ord_id is None}
    placed = [(floor, row) for floor in floors for row in await floor.ledger() if row.kind == "placement"]
    return judge(sent, [row for floor, row in placed if row.account_id in _numbers(floor, accounts)])


def judge(sent: Set[str], placements: Sequence[Placed]) -> Verdict:
    """`sent`: what the journal says left; `placements`: what the followers' ledgers hold."""
    ours = [row.cl_ord_id for row in placements if row.cl_ord_id is not None]
    lost = sorted(sent - set(ours))
    said = [f"{name} was sent and is in no ledger" for name in lost]
    said += [f"{name} was placed without being sent" for name in sorted(set(ours) - sent)]
    said += [
        f"{name} was placed {ours.count(name)} times" for name in sorted(set(ours)) if ours.count(name) > 1
    ]
    said += [f"the broker refused {row.cl_ord_id}: {row.reason}" for row in placements if _refused(row)]
    return Verdict(len(ours) - len(set(ours)), len(lost), tuple(said))


def _numbers(floor: Floor, accounts: Iterable[str]) -> set[int]:
    names = {sim_name(account) for account in accounts}
    return {number for name, number in floor.numbers.items() if name in names}


def _refused(row: Placed) -> bool:
    return row.outcome != "accepted"


async def hop_times(
    db: Database, signals: Iterable[SignalSeen], accounts: Iterable[str]
) -> dict[str, list[float]]:
    """Milliseconds by hop. `accounts` are the followers; the leader's own reports are no copies."""
    found: dict[str, list[float]] = {hop.name: [] for hop in HOPS}
    for signal in signals:
        detection_ms = 0.0
        if signal.source == "drop_copy":
            detection_ms = _ms(signal.occurred_at, signal.received_at)
            found["detection"].append(detection_ms)
        for order in (o for leg in signal.legs for o in leg.orders if o.is_market):
            hops = order.hops
            if "filled" in hops:
                found["end_to_end"].append(detection_ms + hops["filled"] / _US_PER_MS)
            if order.role == "entry" and {"durable", "sent", "acked"} <= hops.keys():
                found["normalise_publish"].append(hops["durable"] / _US_PER_MS)
                found["dispatch"].append((hops["sent"] - hops["durable"]) / _US_PER_MS)
                found["broker"].append((hops["acked"] - hops["sent"]) / _US_PER_MS)
    followers = set(accounts)
    async for row in replay(db, SHARD):
        if row.entry == Reported.__name__:
            entry = decode_row(row)
            if isinstance(entry, Reported) and _is_fill(entry, followers):
                found["collect_publish"].append(_ms(entry.report.transact_time, row.at))
    return found


def _is_fill(entry: Reported, followers: set[str]) -> bool:
    return entry.report.exec_type == "trade" and entry.report.account_id in followers


def _ms(start: datetime, end: datetime) -> float:
    # Brokers stamp whole milliseconds: a difference below zero is that rounding.
    return max(0.0, (end - start).total_seconds() * 1000)


def quantile(values: Sequence[float], name: str) -> float:
    """p50, p95, p99 or max; nearest rank."""
    ranked = sorted(values)
    if name == "max":
        return ranked[-1]
    share = int(name[1:]) / 100
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass(frozen=True, slots=True)
class Counts:
    """The report's numbers; a leg is one follower of one signal."""

    signals: int
    followers: int
    legs: int
    approved: int
    skipped: int
    refused: int
    filled: int


def counts(signals: Sequence[SignalSeen], followers: int) -> Counts:
    """`filled`: orders that were filled whole."""
    legs = [leg for signal in signals for leg in signal.legs]
    outcomes = [leg.outcome for leg in legs]
    filled = sum(order.state == "filled" for leg in legs for order in leg.orders)
    return Counts(
        len(signals),
        followers,
        len(legs),
        outcomes.count("approved"),
        outcomes.count("skipped"),
        outcomes.count("refused"),
        filled,
    )
