"""Flatten: a loop on state, not a command (R-094).

Per account: stop entries, cancel what works, close what is held, read again, until two reads in a row show nothing.
It works without the database (what happens is journalled when it is back) and never judges by an accepted close:
only the broker's own positions count, and a read that failed is no evidence.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.flip_guard import FlipGuard, Held
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Stamp
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder
from kopitra.domain.errors import KopitraError, QueueFull, StoreError, Throttled
from kopitra.domain.executions import TERMINAL_STATUS, AccountSnapshot, ExecutionReport
from kopitra.domain.ids import cl_ord_id, list_id
from kopitra.domain.journal import EntriesBlocked, FlattenNoted, FollowUp
from kopitra.domain.orders import LIVE, OrderIntent
from kopitra.domain.orders import State as OrderState
from kopitra.domain.signals import sign
from kopitra.ports import NotSent, OrderRef
from kopitra.store.ending import ended

#: seconds between two reads of an account; the last one repeats while nothing changes
READ_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0)
#: seconds after which an account that is not flat is reported as failed; a person takes over
GIVE_UP_S: Final = 60.0
#: flat reads in a row that confirm
FLAT_READS: Final = 2

#: how often, and after how many seconds, a cancel that found no free connection is tried before the next read
CANCEL_TRIES: Final = 5
CANCEL_RETRY_S: Final = 0.05

#: runs kept for their progress
RUNS_MAX: Final = 100

Progress = Literal["requested", "pending", "flat_confirmed", "failed"]
#: a close that may still fill, as far as we know
_MAY_FILL: Final[frozenset[OrderState]] = LIVE - {"in_doubt"}
BLOCKED: Final = "a flatten is under way"


class Turning(Exception):
    """A contract keeps changing its side: closing it again would only feed that."""


@dataclass(slots=True)
class AccountProgress:
    """Where one account stands."""

    account_id: str
    state: Progress = "requested"
    detail: str = ""
    positions: tuple[tuple[str, Decimal], ...] = ()


@dataclass(slots=True)
class FlattenRun:
    """One request and its accounts."""

    flatten_id: str
    workspace: str
    who: str
    accounts: dict[str, AccountProgress] = field(default_factory=dict[str, AccountProgress])

    @property
    def done(self) -> bool:
        """Every account is flat or given up."""
        return all(a.state in ("flat_confirmed", "failed") for a in self.accounts.values())


class Pace:
    """When to read again: soon after something has changed, more and more slowly while nothing does."""

    def __init__(self) -> None:
        self._seen: object = None
        self._step = 0

    def pause_s(self, picture: object) -> float:
        """Seconds until the next read, given what this one showed (None: it failed)."""
        self._step = 0 if picture != self._seen else min(self._step + 1, len(READ_PAUSES_S) - 1)
        self._seen = picture
        return READ_PAUSES_S[self._step]


class Flattener:
    """Runs flattens."""

    def __init__(
        self,
        state: State,
        log: Log,
        fanout: Fanout,
        sessions: Sessions,
        alert: Callable[[str, str, str], None],
    ) -> None:
        self._state = state
        self._log = log
        self._fanout = fanout
        self._sessions = sessions
        self._alert = alert
        self._runs: dict[str, FlattenRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, workspace: str, account_ids: Sequence[str], who: str, request_id: str) -> FlattenRun:
        """Begin; the same request again returns the run under way."""
        flatten_id = list_id(workspace, f"flatten {request_id}")
        known = self._runs.get(flatten_id)
        if known is not None:
            return known
        run = FlattenRun(flatten_id, workspace, who)
        self._runs[flatten_id] = run
        if len(self._runs) > RUNS_MAX:
            del self._runs[next(iter(self._runs))]
        for account_id in account_ids:
            positions = tuple(sorted(self._state.facts_of(account_id).positions.items()))
            run.accounts[account_id] = AccountProgress(account_id, positions=positions)
            self._note(run, account_id, "requested", "")
            task = asyncio.get_running_loop().create_task(self._account(run, account_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return run

    def resume(self) -> None:
        """After a start: a flatten that the last process did not finish goes on, because a person asked for it."""
        for account_id, reason in list(self._state.book.blocked.items()):
            account = self._state.account(account_id)
            if reason == BLOCKED and account is not None:
                name = f"{account_id} resumed at {self._state.clock.now().isoformat()}"
                self.start(account.workspace, [account_id], "gateway", name)

    def progress(self, flatten_id: str) -> FlattenRun | None:
        """A run by its id."""
        return self._runs.get(flatten_id)

    def _note(self, run: FlattenRun, account_id: str, state: Progress, detail: str) -> None:
        progress = run.accounts[account_id]
        if (progress.state, progress.detail) == (state, detail) and state != "requested":
            return
        progress.state, progress.detail = state, detail
        self._log.note(run.workspace, FlattenNoted(run.flatten_id, account_id, state, detail, run.who))

    async def _account(self, run: FlattenRun, account_id: str) -> None:
        self._log.note(run.workspace, EntriesBlocked(account_id, BLOCKED))
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._until_flat(run, account_id)
        except TimeoutError:
            self._failed(
                run, account_id, f"not flat after {GIVE_UP_S:g} s: {run.accounts[account_id].detail}"
            )
            return
        except Turning as turning:
            self._failed(run, account_id, str(turning))
            return
        except Exception as error:  # noqa: BLE001 - one account that falls over must be seen and must stop nobody
            self._failed(run, account_id, f"the flatten broke: {error!r}")
            return
        if self._state.book.blocked.get(account_id) == BLOCKED:
            self._log.note(run.workspace, EntriesBlocked(account_id, ""))

    def _failed(self, run: FlattenRun, account_id: str, detail: str) -> None:
        self._withdraw(run, account_id, ())  # a person closes now: nothing of ours may follow later
        self._note(run, account_id, "failed", detail)
        self._alert("flatten-failed", f"{account_id}: {detail}; close it at the broker", account_id)

    async def _until_flat(self, run: FlattenRun, account_id: str) -> None:
        pace, guard, flat_reads, attempt = Pace(), FlipGuard(), 0, 0
        seen_at: list[str] = []
        while flat_reads < FLAT_READS:
            found = await self._read(account_id)
            if (
                isinstance(found, AccountSnapshot)
                and found.positions is not None
                and found.orders is not None
            ):
                working = [o for o in found.orders if o.ord_status not in TERMINAL_STATUS]
                held = tuple((p.symbol, p.net_qty) for p in found.positions if p.net_qty != 0)
                self._withdraw(run, account_id, held)
                unanswered = self._closing(run, account_id, frozenset({"claimed"}))
                flat_reads = 0 if working or held or unanswered else flat_reads + 1
                seen_at = [*seen_at, self._state.clock.now().isoformat(timespec="milliseconds")][-FLAT_READS:]
                if working or held:
                    attempt += 1
                    self._note(run, account_id, "pending", f"{len(working)} orders, {len(held)} positions")
                    left = self._cancel(account_id, working)
                    await self._close(run, account_id, self._guarded(guard, account_id, held), attempt)
                    await self._cancel_rest(account_id, left)
                pause_s = pace.pause_s((held, frozenset(o.order_id for o in working)))
            else:
                flat_reads = 0
                self._note(run, account_id, "pending", "the broker's positions and orders cannot be read")
                asked_s = found.retry_after_s if isinstance(found, Throttled) else 0.0
                pause_s = max(asked_s, pace.pause_s(None))
            if flat_reads < FLAT_READS:
                await asyncio.sleep(min(pause_s, GIVE_UP_S))
        evidence = f"two reads show no position and no working order ({', '.join(seen_at)})"
        self._note(run, account_id, "flat_confirmed", evidence)

    def _guarded(self, guard: FlipGuard, account_id: str, held: Held) -> Held:
        """What may be closed: a side that turned is closed once more and told (R-095)."""
        judged = guard.look(held)
        for contract in judged.turned:
            text = f"{contract} turned while it was being closed: a stop and our close have both filled"
            self._alert("flatten-turned", f"{text}; the difference is closed once", account_id)
        if judged.given_up:
            names = ", ".join(judged.given_up)
            raise Turning(f"{names} keeps turning: something else trades there")
        return judged.closable

    async def _read(self, account_id: str) -> AccountSnapshot | Throttled | None:
        session = self._sessions.of(account_id)
        if session is None:
            return None
        try:
            return await session.snapshot(account_id, None, lane="flatten")
        except Throttled as wait:
            return wait
        except (KopitraError, OSError, TimeoutError, KeyError):
            return None  # a failed read is no evidence; the loop reads again

    def _cancel(self, account_id: str, working: Sequence[ExecutionReport]) -> list[ExecutionReport]:
        """Ask for the cancels; those for which there was no connection just now."""
        session = self._sessions.of(account_id)
        if session is None or self._fanout.look.lease_is_over:
            return []
        busy: list[ExecutionReport] = []
        for report in working:
            name = report.cl_ord_id or report.order_id
            outcome = session.cancel(_ref(report), cl_ord_id(name, account_id, "fc"))
            if isinstance(outcome, NotSent) and outcome.reason == "busy":
                busy.append(report)
        return busy

    async def _cancel_rest(self, account_id: str, left: list[ExecutionReport]) -> None:
        """Connections come free within milliseconds, and another read costs more than it tells."""
        for _ in range(CANCEL_TRIES):
            if not left:
                return
            await asyncio.sleep(CANCEL_RETRY_S)
            left = self._cancel(account_id, left)

    async def _close(self, run: FlattenRun, account_id: str, held: Held, attempt: int) -> None:
        """One market close per contract; none while an earlier one of this run may still fill."""
        # A close in doubt does not hold up the next: doubt comes 2.5 s after the write, and the position that was
        # read since is what is really open.
        if self._closing(run, account_id, _MAY_FILL):
            return
        intents = tuple(
            _closing_intent(run.flatten_id, account_id, contract, qty, f"f{attempt}-{number}")
            for number, (contract, qty) in enumerate(held)
        )
        if not intents:
            return
        entry = FollowUp(run.flatten_id, account_id, released=intents)
        if not await self._durable(run, entry):
            return
        now_ns = self._state.clock.monotonic_ns()
        self._fanout.dispatch(self._fanout.encode(intents, Stamp(now_ns, now_ns, now_ns)), now_ns)

    async def _durable(self, run: FlattenRun, entry: FollowUp) -> bool:
        """In the journal, or in the local exit file while the database is away (R-072). False: it must wait, because
        the lease is over and closing twice would do harm at this broker.

        A person asked for it: without journal and without disk it goes all the same, and is told.
        """
        folded = False
        try:
            durable = self._log.decide(run.workspace, entry)
            folded = True
            await durable
            return True
        except (StoreError, QueueFull):
            if not self._fanout.look.may_exit(entry.account_id, flatten=True):
                return False
        try:
            if await self._log.locally(run.workspace, entry, folded=folded):
                return True
        except (StoreError, QueueFull):
            if folded:
                self._log.keep(run.workspace, entry)
            else:
                self._log.note(run.workspace, entry)
                self._log.on_decided(entry)
        text = "a close of the flatten is written down nowhere yet: database and local file are away"
        self._alert("exit-file-failed", text, entry.account_id)
        return True

    def _closing(
        self, run: FlattenRun, account_id: str, states: frozenset[OrderState]
    ) -> tuple[ChildOrder, ...]:
        children = self._state.book.open_children(account_id, "")
        return tuple(c for c in children if c.intent.list_id == run.flatten_id and c.state in states)

    def _withdraw(self, run: FlattenRun, account_id: str, held: Held) -> None:
        """Closes that still wait for their write and no longer fit what is held: written later they would open."""
        wanted = {contract: -qty for contract, qty in held}
        for child in self._closing(run, account_id, frozenset({"claimed"})):
            intent = child.intent
            if wanted.get(intent.symbol) != intent.qty * sign(intent.side):
                self._fanout.withdraw(account_id, intent.cl_ord_id)

    async def stop(self) -> None:
        """End the loops; what was closed stays closed."""
        await ended(list(self._tasks))


def _closing_intent(flatten_id: str, account_id: str, contract: str, qty: Decimal, leg: str) -> OrderIntent:
    return OrderIntent(
        cl_ord_id=cl_ord_id(flatten_id, account_id, leg),
        list_id=flatten_id,
        account_id=account_id,
        leader="",
        leg=leg,
        role="exit",
        symbol=contract,
        side="sell" if qty > 0 else "buy",
        qty=abs(qty),
        reduce_only=True,
    )


def _ref(report: ExecutionReport) -> OrderRef:
    return OrderRef(
        report.cl_ord_id or "",
        report.order_id,
        report.account_id,
        report.symbol,
        report.side,
        report.ord_type or "market",
        report.order_qty or Decimal(0),
        report.price,
        report.stop_price,
        None,
        report.time_in_force or "day",
    )
