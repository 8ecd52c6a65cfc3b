"""One report stream out of the vendor's entity events.

An Order has no quantity, price, type or client id; a Fill has no account and no client id (vendor docs
"Entity schemas"). The events of one act arrive in any order, so each entity is put on its order's track and
`_advance` tells whatever has become certain. A fill is told only when its order is identified: told before,
our own fill would look like a stranger's.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal

from brokers.tradovate.entities import Command, CommandReport, ExecReport, Fill, Order, OrderVersion
from brokers.tradovate.failures import reason_of
from brokers.tradovate.symbols import ContractBook
from brokers.tradovate.tracks import (
    DONE,
    ENDED,
    RANK,
    RANK_MAX,
    SIDES,
    STATUS,
    CommandNote,
    Missing,
    Track,
    missing_of,
    remember,
    report_of,
)
from kopitra.domain.errors import ProtocolViolation
from kopitra.domain.executions import TERMINAL_STATUS, ExecutionReport, OrdStatus
from kopitra.domain.signals import Side

#: orders of one login that are remembered; a day has a few thousand, the oldest go first
TRACKS_MAX: Final = 50_000
SEEN_MAX: Final = 200_000  #: execution ids of one login that are remembered against doubles
COMMANDS_MAX: Final = 100_000
ORPHANS_MAX: Final = 1_000  #: reports waiting for their command
ASK_WAIT_S: Final = 2.0  #: seconds that an answer is waited for
PROOFS: Final = 2  #: answers without a client that make an order nobody's: lists may lag
_NS: Final = 1_000_000_000
_REJECTIONS: Final = frozenset({"RiskRejected", "ExecutionRejected"})


class Joiner:
    """All orders of one login. `emit` gets each report once; `ask` is told what has to be looked up."""

    def __init__(
        self,
        accounts: Mapping[int, str],
        contracts: ContractBook,
        emit: Callable[[ExecutionReport], None],
        ask: Callable[[Missing, int], bool],
        now: Callable[[], datetime],
        *,
        wait_s: float,
    ) -> None:
        """`accounts`: the broker's account ids and ours; orders of other accounts are not told."""
        self._accounts = accounts
        self._contracts = contracts
        self._emit_report = emit
        self._ask = ask
        self._now = now
        self._wait_ns = int(wait_s * _NS)
        self._tracks: OrderedDict[int, Track] = OrderedDict()
        self._commands: OrderedDict[int, CommandNote] = OrderedDict()
        self._orphans: OrderedDict[int, CommandReport | ExecReport] = OrderedDict()
        self._seen: OrderedDict[int, bool] = OrderedDict()  # execution id -> still active
        self._waiting: dict[int, Track] = {}
        self._muted = False
        self._asked_names: set[int] = set()  # contracts that are being looked up
        #: orders of our accounts that were told and have not ended, by the broker's id
        self.open_orders: set[str] = set()
        #: (account, contract) pairs with a native close in flight: its order names no client id
        self.closing: dict[tuple[int, int], int] = {}

    # -- entities ----------------------------------------------------------------------------------------

    def on_order(self, order: Order, now_ns: int) -> None:
        """Status and ownership."""
        if order.ord_status == "Unknown":
            raise ProtocolViolation(
                f"order {order.id} has the status Unknown: look at it in the broker's own client"
            )
        track = self._track(order.id)
        before = track.order
        if before is None or before.ord_status not in ENDED or order.ord_status in ENDED:
            track.order = order  # else an older state of an order that is over came late
        track.parent_id = track.parent_id or order.parent_id
        self._advance(track, now_ns)

    def on_version(self, version: OrderVersion, now_ns: int) -> None:
        """Quantity, type, prices; a newer version counts when its command is confirmed."""
        track = self._track(version.order_id)
        known = track.version
        if known is None or known.id in (0, version.id):
            self._adopt(track, version, now_ns)
        elif version.id > known.id:
            track.keep_later(version)
            self._promote(track, now_ns)

    def on_command(self, command: Command, now_ns: int) -> None:
        """The client id (New), and which order later reports of the command belong to."""
        if command.id not in self._commands:
            remember(
                self._commands, command.id, CommandNote(command.order_id, command.command_type), COMMANDS_MAX
            )
        track = self._track(command.order_id)
        if command.command_type == "New" and not track.identified:
            track.identified = True
            track.cl_ord_id = track.cl_ord_id or command.cl_ord_id or None
        orphan = self._orphans.pop(command.id, None)
        if isinstance(orphan, CommandReport):
            self.on_command_report(orphan, now_ns)
        elif orphan is not None:
            self.on_execution_report(orphan, now_ns)
        self._advance(track, now_ns)

    def on_command_report(self, report: CommandReport, now_ns: int) -> None:
        """Why a command was refused, or that it has taken effect."""
        note = self._commands.get(report.command_id)
        if note is None:
            remember(self._orphans, report.command_id, report, ORPHANS_MAX)
            return
        track = self._track(note.order_id)
        if report.command_status in _REJECTIONS:
            self._refused(track, note, report.reject_reason, report.text, report.command_id, now_ns)
        elif note.kind == "Modify" and self._takes_effect(track, report.command_status):
            self._confirm(track, report.command_id, now_ns)

    def on_execution_report(self, report: ExecReport, now_ns: int) -> None:
        """Only refusals and replacements: quantities come from fills alone, or they would count twice."""
        if report.exec_type == "Replaced":
            self._confirm(self._track(report.order_id), report.command_id, now_ns)
            return
        if report.exec_type != "Rejected":
            return
        note = self._commands.get(report.command_id)
        if note is None:
            remember(self._orphans, report.command_id, report, ORPHANS_MAX)
            return
        track = self._track(report.order_id)
        self._refused(track, note, report.reject_reason, report.text, report.command_id, now_ns)

    def on_fill(self, fill: Fill, now_ns: int) -> None:
        """An execution, or with `active` false the busting of one."""
        told = self._seen.get(fill.id)
        if told is None and fill.active:
            track = self._track(fill.order_id)
            if track.due_ns and track.order_id not in self._waiting:  # lost: this one is worth a look again
                track.rest()
            track.fills[fill.id] = fill
            self._advance(track, now_ns)
        elif told is None:
            self._track(fill.order_id).fills.pop(fill.id, None)
            remember(self._seen, fill.id, False, SEEN_MAX)
        elif told and not fill.active:
            self._bust(self._track(fill.order_id), fill, now_ns)

    def own(
        self, order_id: int, account_id: str, symbol: str, side: Side, cl_ord_id: str,
        version: OrderVersion | None, parent_id: int | None, now_ns: int,
    ) -> None:  # fmt: skip
        """Our placement was accepted with this id: tell it, unless the stream was faster."""
        track = self._track(order_id)
        track.identified, track.cl_ord_id = True, cl_ord_id
        track.account_id, track.symbol, track.side = account_id, symbol, side
        track.parent_id = track.parent_id or parent_id
        track.version = track.version or version
        if track.rank == 0 and not track.final:
            exec_type: Literal["suspended", "pending_new"] = "suspended" if parent_id else "pending_new"
            track.rank, track.told = RANK[exec_type], exec_type
            self._tell(report_of(track, exec_type, exec_type, self._now(), now_ns))
        if track.order is not None or track.fills or track.due_ns:  # the stream was faster
            self._advance(track, now_ns)

    def identify(self, order_id: int, cl_ord_id: str, now_ns: int) -> None:
        """The order of a native close is ours; its numbers come by the stream."""
        track = self._track(order_id)
        track.identified, track.cl_ord_id = True, cl_ord_id
        self._advance(track, now_ns)

    def status_of(self, order_id: str) -> OrdStatus | None:
        """What was last told of an order."""
        track = self._tracks.get(int(order_id)) if order_id.isdecimal() else None
        return track.told if track is not None else None

    def contract_name(self, contract_id: int) -> str:
        """The name, or "" where it is not known."""
        return self._contracts.name(contract_id) or ""

    def adopt(self, version: OrderVersion, now_ns: int) -> None:
        """A snapshot's word on an order's numbers."""
        self._adopt(self._track(version.order_id), version, now_ns)

    @contextmanager
    def muted(self, silent: bool) -> Generator[None]:
        """While history is taken in, nothing is told."""
        self._muted = silent
        try:
            yield
        finally:
            self._muted = False

    # -- waiting -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> Collection[Track]:
        """Orders of which something is missing."""
        return self._waiting.values()

    @property
    def next_due_ns(self) -> int | None:
        """When somebody will be `due`."""
        return min((track.due_ns for track in self._waiting.values()), default=None)

    def due(self, now_ns: int) -> list[Track]:
        """Orders that have waited long enough."""
        return [track for track in self._waiting.values() if track.due_ns <= now_ns]

    def asked(self, track: Track, now_ns: int) -> None:
        """What is missing was asked for; the second time, or where nothing can be, it is told as it is."""
        track.asked, track.due_ns = True, now_ns + int(ASK_WAIT_S * _NS)
        if track.tries > 1 or not missing_of(track, self._contracts):
            self._advance(track, now_ns)

    def proved(self, order_id: int) -> None:
        """An answer listed the commands of this order."""
        track = self._tracks.get(order_id)
        if track is not None and not track.identified:
            track.proofs += 1

    def lose(self, track: Track, now_ns: int) -> None:
        """Nobody explains it. A fill is told without a client id only where it has none for sure, or our own would be a
        stranger's for good. Else the next reading of the account tells it."""
        self._waiting.pop(track.order_id, None)
        known = track.order is not None and self._contracts.name(track.order.contract_id)
        if known and (track.identified or track.proofs >= PROOFS):
            track.asked = track.identified = True
            self._advance(track, now_ns)

    def recheck(self, now_ns: int) -> None:
        """A contract was learnt or a native close was answered: look again at what waits."""
        self._asked_names.clear()
        for track in list(self._waiting.values()):
            self._advance(track, now_ns)

    def expire_time(self, order_id: str) -> str | None:
        """The expiry of a gtd order, which a replacement must repeat."""
        track = self._tracks.get(int(order_id)) if order_id.isdecimal() else None
        return track.version.expire_time if track is not None and track.version is not None else None

    # -- deciding ----------------------------------------------------------------------------------------

    def _track(self, order_id: int) -> Track:
        track = self._tracks.get(order_id)
        if track is None:
            track = Track(order_id)
            remember(self._tracks, order_id, track, TRACKS_MAX)
        return track

    def _resolve(self, track: Track) -> bool:
        order = track.order
        if order is None or not track.identified:
            return False
        if track.version is None and not track.asked:
            return False
        symbol = self._contracts.name(order.contract_id)
        if symbol is None:
            if (key := order.contract_id) and key not in self._asked_names and self._ask("contract", key):
                self._asked_names.add(key)
            return False
        if track.cl_ord_id is None and (order.account_id, order.contract_id) in self.closing:
            return False
        track.account_id = self._accounts.get(order.account_id, "")
        track.symbol, track.side = symbol, SIDES[order.action]
        return True

    def _advance(self, track: Track, now_ns: int) -> None:
        if track.account_id is None and not self._resolve(track):
            self._wait(track, now_ns)
            return
        track.live = track.live or not self._muted
        for fill_id in sorted(track.fills) if track.fills else ():
            self._tell_fill(track, track.fills.pop(fill_id), now_ns)
        told = self._tell_status(track, now_ns)
        if not told or track.is_short_of_fills:
            self._wait(track, now_ns)
        elif track.due_ns:
            track.rest()
            self._waiting.pop(track.order_id, None)

    def _wait(self, track: Track, now_ns: int) -> None:
        if track.due_ns == 0 and not self._muted:
            track.due_ns = now_ns + self._wait_ns
            self._waiting[track.order_id] = track

    def _tell_fill(self, track: Track, fill: Fill, now_ns: int) -> None:
        remember(self._seen, fill.id, True, SEEN_MAX)
        track.cum_qty += fill.qty
        track.turnover += fill.price * fill.qty
        complete = track.version is not None and track.cum_qty >= track.version.order_qty
        track.rank = RANK["new"]
        track.final = track.final or complete
        track.told = "filled" if complete else "partially_filled"
        self._tell(report_of(track, "trade", track.told, fill.timestamp, now_ns, fill=fill))

    def _tell_status(self, track: Track, now_ns: int) -> bool:
        """False: there is something to tell, and a part of it is still missing."""
        order = track.order
        if track.final or order is None or order is track.shown or order.ord_status in DONE:
            return True
        exec_type, status = STATUS[order.ord_status]
        if status == track.told or RANK.get(status, RANK_MAX) <= track.rank:
            return True
        if status == "rejected" and track.rejection is None and not track.asked:
            return False  # its reason travels in another entity
        word, text = track.rejection or ("", "")
        at = self._now() if track.rank else order.timestamp
        track.rank = max(track.rank, RANK.get(status, 0))
        track.told, track.final = status, status in TERMINAL_STATUS
        track.shown = order
        reason = reason_of(word)
        self._tell(report_of(track, exec_type, status, at, now_ns, text=text, ord_rej_reason=reason))
        return True

    def _refused(
        self,
        track: Track,
        note: CommandNote,
        word: str | None,
        text: str | None,
        command_id: int,
        now_ns: int,
    ) -> None:
        if note.settled:
            return
        note.settled = True
        said = ": ".join(part for part in (word, text) if part)
        if note.kind == "New":
            track.rejection = (word or "", said)
            if track.order is not None and track.order.ord_status == "Rejected":
                self._advance(track, now_ns)
            return
        track.later.pop(command_id, None)
        if track.account_id and track.order is not None:
            exec_type = "replace_rejected" if note.kind == "Modify" else "cancel_rejected"
            status = track.told if track.final and track.told else track.resting_status()
            reason = reason_of(word)
            self._tell(
                report_of(track, exec_type, status, self._now(), now_ns, text=said, ord_rej_reason=reason)
            )

    def _takes_effect(self, track: Track, status: str) -> bool:
        # A suspended order never reaches the exchange: for it there is no execution report to wait for.
        held = track.order is not None and track.order.ord_status == "Suspended"
        return status == "Replaced" or (held and status in ("RiskPassed", "AtExecution"))

    def _confirm(self, track: Track, command_id: int, now_ns: int) -> None:
        note = self._commands.get(command_id)
        if note is not None:
            note.settled = True
        track.confirmed = max(track.confirmed, command_id)
        self._promote(track, now_ns)

    def _promote(self, track: Track, now_ns: int) -> None:
        ready = [key for key in track.later if key <= track.confirmed]
        if ready:
            version = track.later[max(ready)]
            for key in ready:
                del track.later[key]
            self._adopt(track, version, now_ns)

    def _adopt(self, track: Track, version: OrderVersion, now_ns: int) -> None:
        before, track.version = track.version, version
        # An id of 0 marks the numbers of our own request, which the broker's version only confirms.
        changed = before is not None and before.id > 0 and before != version
        if changed and track.account_id and not track.final:
            status = track.told = track.resting_status()
            self._tell(report_of(track, "replaced", status, self._now(), now_ns))
        self._advance(track, now_ns)

    def _bust(self, track: Track, fill: Fill, now_ns: int) -> None:
        self._seen[fill.id] = False
        track.cum_qty -= fill.qty
        track.turnover -= fill.price * fill.qty
        self._tell(report_of(track, "trade_cancel", track.told or "new", fill.timestamp, now_ns, fill=fill))

    def _tell(self, report: ExecutionReport) -> None:
        if report.ord_status in TERMINAL_STATUS:
            self.open_orders.discard(report.order_id)
        elif report.account_id:
            self.open_orders.add(report.order_id)
        track = self._tracks.get(int(report.order_id)) if self._muted else None
        if report.account_id and (not self._muted or (track is not None and track.is_news)):
            self._emit_report(report)
