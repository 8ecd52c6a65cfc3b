"""All the vendor tells of an account at one time, from the socket's snapshot or from REST lists alike."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import msgspec

from brokers._kit.budget import Lane
from brokers._kit.rest import RestClient, decoded
from brokers.tradovate.entities import (
    CashBalance,
    CashSnapshot,
    Command,
    Contract,
    Fill,
    Order,
    OrderVersion,
    Position,
)
from brokers.tradovate.join import Joiner
from brokers.tradovate.rows import Kind, Seen, Unread, read_rows
from brokers.tradovate.symbols import ContractBook
from brokers.tradovate.tracks import DONE, SIDES, STATUS, ZERO, Track, newest_version, report_of
from kopitra.domain.errors import Disconnected, SessionError, Throttled
from kopitra.domain.executions import (
    AccountSnapshot,
    BalanceReport,
    ExecutionReport,
    OrdStatus,
    PositionReport,
)

T = TypeVar("T")
#: requests of one read of all lists
LISTS = 6
#: seconds that a new life waits for the lists over REST
LOOK_S = 2.0
#: ids in one items request
_IDS_MAX = 100


def account_snapshot(
    seen: Seen,
    broker_id: int,
    account_id: str,
    contracts: ContractBook,
    *,
    since: datetime | None,
    started_ns: int,
    cash: CashSnapshot | None = None,
) -> AccountSnapshot:
    """One account's part. Orders as `order_status`, executions since `since` as `trade` reports.

    A list in which a row of the account does not read, or names a contract that nobody knows, is None (R-044).
    """
    spoiled = seen.spoiled(broker_id)
    executions: list[ExecutionReport] = []
    tracks = _tracks(seen, broker_id, account_id, contracts)
    for fill in sorted(seen.fills, key=lambda fill: fill.id):
        track = tracks.get(fill.order_id)
        if track is None or not fill.active:
            continue
        track.cum_qty += fill.qty
        track.turnover += fill.price * fill.qty
        if since is None or fill.timestamp >= since:
            whole = track.version is not None and track.cum_qty >= track.version.order_qty
            status: OrdStatus = "filled" if whole else "partially_filled"
            executions.append(report_of(track, "trade", status, fill.timestamp, 0, fill=fill))
    nameless = any(o.account_id == broker_id and contracts.name(o.contract_id) is None for o in seen.orders)
    orders = None
    if not nameless and not spoiled & {"order", "version", "command"}:
        orders = tuple(
            report_of(track, "order_status", _status(track), track.order.timestamp, 0)
            for track in tracks.values()
            if track.order is not None
        )
    told = None if nameless or spoiled & {"order", "command", "fill"} else tuple(executions)
    positions = None if "position" in spoiled else _positions(seen, broker_id, account_id, contracts)
    balance = _balance(seen, broker_id, account_id, cash)
    return AccountSnapshot(account_id, positions, orders, told, balance, started_ns)


def _positions(
    seen: Seen, broker_id: int, account_id: str, contracts: ContractBook
) -> tuple[PositionReport, ...] | None:
    """None where one is held in a contract without a name: left out, it would count as flat."""
    found: list[PositionReport] = []
    for row in seen.positions:
        if row.account_id != broker_id:
            continue
        name = contracts.name(row.contract_id)
        if name is not None:
            found.append(PositionReport(account_id, name, Decimal(row.net_pos), row.net_price, row.timestamp))
        elif row.net_pos:
            return None
    return tuple(found)


def _tracks(seen: Seen, broker_id: int, account_id: str, contracts: ContractBook) -> dict[int, Track]:
    tracks: dict[int, Track] = {}
    for order in seen.orders:
        name = contracts.name(order.contract_id)
        if order.account_id == broker_id and name is not None:
            tracks[order.id] = Track(
                order.id,
                order,
                parent_id=order.parent_id,
                account_id=account_id,
                symbol=name,
                side=SIDES[order.action],
            )
    by_id = {command.id: command for command in seen.commands}
    for command in seen.commands:
        track = tracks.get(command.order_id)
        if track is not None and command.command_type == "New":
            track.cl_ord_id = command.cl_ord_id or None
    for order_id, versions in _by_order(seen.order_versions).items():
        if order_id in tracks:
            tracks[order_id].version = newest_version(versions, by_id)
    return tracks


def _status(track: Track) -> OrdStatus:
    order = track.order
    if order is None or order.ord_status in DONE:
        return "filled"
    status = STATUS[order.ord_status][1]
    return "partially_filled" if status == "new" and track.cum_qty > ZERO else status


def _balance(seen: Seen, broker_id: int, account_id: str, cash: CashSnapshot | None) -> BalanceReport | None:
    row = next((row for row in seen.cash_balances if row.account_id == broker_id), None)
    return None if row is None else balance_report(row, account_id, cash)


def balance_report(row: CashBalance, account_id: str, cash: CashSnapshot | None = None) -> BalanceReport:
    """Cash, the day's realised profit, and equity (net liquidation) where the snapshot call told it."""
    told = cash.realized_pn_l if cash is not None and cash.realized_pn_l is not None else row.realized_pn_l
    return BalanceReport(
        account_id, row.amount, cash.net_liq if cash is not None else None, told, row.timestamp
    )


def absorb(seen: Seen, joiner: Joiner, now_ns: int, *, first: bool, late: bool = False) -> None:
    """Take in a whole snapshot: the first is history (nothing is told), later ones show what a gap hid. A `late` part
    is older than what the stream has told since: it takes no newer numbers back."""
    by_id = {command.id: command for command in seen.commands}
    with joiner.muted(silent=first):
        for command in seen.commands:
            joiner.on_command(command, now_ns)
        for versions in _by_order(seen.order_versions).values():
            newest = newest_version(versions, by_id)
            if newest is not None:
                (joiner.on_version if late else joiner.adopt)(newest, now_ns)
        for report in seen.command_reports:
            joiner.on_command_report(report, now_ns)
        for fill in sorted(seen.fills, key=lambda fill: fill.id):
            joiner.on_fill(fill, now_ns)
        for order in seen.orders:
            joiner.on_order(order, now_ns)


def explain(seen: Seen, joiner: Joiner, order_ids: Set[int], now_ns: int) -> None:
    """What lists tell of some orders; they may lag, as late parts do."""
    part = Seen(
        orders=[order for order in seen.orders if order.id in order_ids],
        order_versions=[version for version in seen.order_versions if version.order_id in order_ids],
        commands=[command for command in seen.commands if command.order_id in order_ids],
        fills=[fill for fill in seen.fills if fill.order_id in order_ids],
    )
    absorb(part, joiner, now_ns, first=False, late=True)
    if any(row.kind == "command" for row in seen.unread):
        return
    # An order has a command at least: a list without one lags.
    listed = {command.order_id for command in part.commands}
    for order in part.orders:
        if order.id in listed:
            joiner.proved(order.id)


def _by_order(versions: Iterable[OrderVersion]) -> dict[int, list[OrderVersion]]:
    grouped: dict[int, list[OrderVersion]] = {}
    for version in versions:
        grouped.setdefault(version.order_id, []).append(version)
    return grouped


async def first_look(
    reader: "Reader", seen: Seen, ours: Mapping[int, str], contracts: ContractBook, started_ns: int
) -> list[AccountSnapshot]:
    """Each account at the start of a life, from the lists over REST: they are whole.

    Nobody marks the end of the socket's snapshot, so a part of it may be missing: where the lists cannot be read soon,
    its executions are news and the rest is no evidence (R-044). No exit waits for evidence.
    """
    try:
        async with asyncio.timeout(LOOK_S):
            started_ns, seen = await reader.lists(Lane.STATUS)
    except (SessionError, TimeoutError):
        whole = False
    else:
        whole = True
    found = [
        account_snapshot(seen, broker_id, account_id, contracts, since=None, started_ns=started_ns)
        for broker_id, account_id in ours.items()
    ]
    return found if whole else [replace(one, positions=None, orders=None) for one in found]


class Reader:
    """Reads the entity lists of a login. One read serves every account that asked before it began."""

    def __init__(
        self,
        rest: RestClient,
        token: Callable[[], Awaitable[str]],
        spend: Callable[[int, Lane], None],
        contracts: ContractBook,
        clock_ns: Callable[[], int],
        tell: Callable[[Seen], None],
    ) -> None:
        """`spend` takes requests from the login's budget and raises Throttled when there are none. `tell` hears of
        each read, for the rows that do not read."""
        self._tell = tell
        self._rest = rest
        self._token = token
        self._spend = spend
        self._contracts = contracts
        self._clock_ns = clock_ns
        self._lock, self._flatten_lock = asyncio.Lock(), asyncio.Lock()
        self._last: tuple[int, Seen] | None = None

    async def lists(self, lane: Lane = Lane.EXIT) -> tuple[int, Seen]:
        """(monotonic start, everything); begun after this call."""
        wanted_ns = self._clock_ns()
        # A flatten waits for no poll; flattens share their reads.
        async with self._flatten_lock if lane is Lane.FLATTEN else self._lock:
            if self._last is not None and self._last[0] >= wanted_ns:
                return self._last
            read = (self._clock_ns(), await self._read(lane))
            if self._last is None or self._last[0] < read[0]:
                self._last = read
            return read

    async def _read(self, lane: Lane) -> Seen:
        self._spend(LISTS, lane)
        unread: list[Unread] = []
        # Fills last: a fill's order is in the lists before, or the fill is younger than them.
        orders = await self.rows("/order/list", Order, "order", unread)
        versions = await self.rows("/orderVersion/list", OrderVersion, "version", unread)
        commands = await self.rows("/command/list", Command, "command", unread)
        positions = await self.rows("/position/list", Position, "position", unread)
        cash = await self.rows("/cashBalance/list", CashBalance, "cash", unread)
        fills = await self.rows("/fill/list", Fill, "fill", unread)
        wanted = {row.contract_id for row in (*orders, *positions)}
        await self.learn({contract_id for contract_id in wanted if contract_id is not None}, lane)
        seen = Seen(
            orders=orders, order_versions=versions, commands=commands, positions=positions,
            cash_balances=cash, fills=fills, unread=unread,
        )  # fmt: skip
        self._tell(seen)
        return seen

    async def learn(self, contract_ids: set[int], lane: Lane = Lane.EXIT) -> None:
        """Look up the names of contracts that are not known yet."""
        unknown = sorted(number for number in contract_ids if self._contracts.name(number) is None)
        for start in range(0, len(unknown), _IDS_MAX):
            self._spend(1, lane)
            ids = ",".join(str(number) for number in unknown[start : start + _IDS_MAX])
            self._contracts.learn(await self.rows("/contract/items", Contract, "contract", [], ids=ids))

    async def cash(self, broker_id: int, lane: Lane = Lane.EXIT) -> CashSnapshot | None:
        """Net liquidation and the day's profit; None where the vendor does not tell them."""
        self._spend(1, lane)
        body = msgspec.json.encode({"accountId": broker_id})
        headers = {"Authorization": f"Bearer {await self._token()}"}
        reply = await self._rest.post("/cashBalance/getcashbalancesnapshot", body, headers=headers)
        answer = decoded(_unpenalised(reply.ok()), CashSnapshot)
        return None if answer.error_text else answer

    async def get(self, path: str, shape: type[T], **query: str) -> T:
        """One answer; raises a SessionError."""
        return decoded(await self._body(path, query), shape)

    async def rows(
        self, path: str, shape: type[T], kind: Kind, unread: list[Unread], **query: str
    ) -> list[T]:
        """One list, row by row; raises a SessionError."""
        return read_rows(await self._body(path, query), shape, kind, unread)

    async def _body(self, path: str, query: Mapping[str, str]) -> bytes:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        reply = await self._rest.get(path, query=query, headers=headers)
        if reply.status == 423:
            raise Throttled("the vendor asks for silence (HTTP 423)", retry_after_s=60.0)
        if reply.status == 404:
            raise Disconnected(f"{path} is not there (HTTP 404): check base_url")
        return _unpenalised(reply.ok())


def _unpenalised(body: bytes) -> bytes:
    """HTTP 200 can carry a penalty instead of the answer."""
    if body[:200].lstrip().startswith(b"{") and b'"p-ticket"' in body[:400]:
        raise Throttled("the vendor gave a time penalty", retry_after_s=60.0)
    return body
