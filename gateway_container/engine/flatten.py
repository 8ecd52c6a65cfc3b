"""Flattens: who asked for what, one run per account, and what comes after one that failed (R-094, R-102).

The states of an account, as the book has them (`Book.flattens`, folded from `FlattenNoted`):

    none -> under way -> flat, none again
                      -> failed -> under way, when it is tried again: slowly by itself, at once when somebody asks
                                -> none, when a person lifts it

A request for an account that is being flattened joins its run and gets the same outcome. While a run is under way no
leader's order leaves; once it has failed exits go on, the account is compared, and a person may lift the mark.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.flatten_leaving import Leaving
from gateway_container.engine.flatten_run import Closing, NobodyTrades, Parts, Turning
from gateway_container.engine.log import Log
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.exit_ladder import is_around_reopen
from kopitra.domain.flattening import AGAIN_MAX, AGAIN_PAUSES_S, Flattening, is_locked
from kopitra.domain.ids import list_id
from kopitra.domain.journal import FlattenNoted
from kopitra.store.ending import ended

#: seconds after which an account that is not flat is reported as failed; a person takes over
GIVE_UP_S: Final = 60.0
#: seconds of each slow try after that
TRY_S: Final = 30.0
#: runs kept for their progress, and requests that one run of an account answers
RUNS_MAX: Final = 100

Progress = Literal["requested", "pending", "flat_confirmed", "failed"]


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
    #: done when journal or local file has the request, one for each account
    kept: list[asyncio.Future[bool]] = field(default_factory=list[asyncio.Future[bool]])

    @property
    def done(self) -> bool:
        """Every account is flat or given up."""
        return all(a.state in ("flat_confirmed", "failed") for a in self.accounts.values())


@dataclass(slots=True)
class _Job:
    """The run of one account, for everybody who asked; the first of them gives it its name."""

    progress: AccountProgress
    asked: deque[FlattenRun]
    #: slow tries after the first one
    tries: int = 0
    given_up: bool = False
    #: nobody tries again: it only waits until its closes have ended
    leaving: bool = False
    task: asyncio.Task[None] | None = None


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
        self._sessions = sessions
        self._alert = alert
        self._parts = Parts(state, log, fanout, sessions, alert, state.clock.monotonic_ns())
        self._runs: dict[str, FlattenRun] = {}
        self._jobs: dict[str, _Job] = {}  # bounded: accounts
        self._begun = 0

    # requests ----------------------------------------------------------------------------------------------

    def start(self, workspace: str, account_ids: Sequence[str], who: str, request_id: str) -> FlattenRun:
        """Begin, or join what is under way; the same request again returns its run."""
        flatten_id = list_id(workspace, f"flatten {request_id}")
        known = self._runs.get(flatten_id)
        if known is not None:
            return known
        run = self._remember(FlattenRun(flatten_id, workspace, who))
        for account_id in account_ids:
            self._ask(run, account_id)
        return run

    def _remember(self, run: FlattenRun) -> FlattenRun:
        self._runs[run.flatten_id] = run
        if len(self._runs) > RUNS_MAX:
            del self._runs[next(iter(self._runs))]
        return run

    def _ask(self, run: FlattenRun, account_id: str) -> None:
        job = self._jobs.get(account_id)
        joins = job is not None and job.progress.state != "failed"
        if job is None or not joins:
            job = self._begin(run, account_id)
        job.asked.append(run)
        run.accounts[account_id] = job.progress
        detail = f"joins {job.asked[0].flatten_id}" if joins else ""
        # A crash right after the answer must not forget it, with or without a database.
        entry = FlattenNoted(run.flatten_id, account_id, "requested", detail, run.who)
        kept = self._log.secure(run.workspace, entry)
        if kept is not None:
            run.kept.append(kept)

    def _begin(self, run: FlattenRun, account_id: str, *, later: bool = False) -> _Job:
        """A run of its own; it takes the place of one that waits for its next slow try."""
        before = self._jobs.get(account_id)
        if before is not None and before.task is not None:
            before.task.cancel()
        positions = tuple(sorted(self._state.facts_of(account_id).positions.items()))
        job = _Job(AccountProgress(account_id, positions=positions), deque(maxlen=RUNS_MAX))
        self._jobs[account_id] = job
        work = self._account(job, run.workspace, later=later)
        job.task = asyncio.get_running_loop().create_task(work, name=f"flatten {account_id}")
        return job

    def resume(self) -> None:
        """After a start or a new configuration: what nobody is at goes on where the account has a session, because a
        person (or a lock) asked for it."""
        for account_id in self._left():
            account = self._state.account(account_id)
            if account is None or self._sessions.of(account_id) is None or account_id in self._jobs:
                continue
            lifted = Flattening(f"lifted {account_id}", "", failed=True, given_up=True)
            mark = self._state.book.flattens.get(account_id, lifted)
            run = self._runs.get(mark.flatten_id)
            run = run or self._remember(FlattenRun(mark.flatten_id, account.workspace, mark.who))
            job = self._begin(run, account_id, later=mark.failed)
            job.given_up = mark.given_up
            job.asked.append(run)
            run.accounts[account_id] = job.progress
            if mark.failed:
                job.progress.state, job.progress.detail = "failed", mark.detail
            else:
                self._tell(job, "pending", "it goes on, having been interrupted")

    def _left(self) -> list[str]:
        """Accounts that are to be flattened, or where a close of a flatten that is over still works."""
        book = self._state.book
        marked = {a for a, mark in book.flattens.items() if not self._is_over(a, mark)}
        return sorted(marked | {a for (a, leader), closes in book.open.items() if closes and not leader})

    def _is_over(self, account_id: str, mark: Flattening) -> bool:
        return mark.failed and mark.given_up and not self._is_locked(account_id)

    def is_at_work(self, account_id: str) -> bool:
        """It closes the account, or will try to again by itself."""
        job = self._jobs.get(account_id)
        return job is not None and not job.leaving

    def progress(self, flatten_id: str) -> FlattenRun | None:
        """A run by its id."""
        return self._runs.get(flatten_id)

    # one account -------------------------------------------------------------------------------------------

    async def _account(self, job: _Job, workspace: str, *, later: bool) -> None:
        account_id = job.progress.account_id
        self._begun += 1
        name = f"closes of {account_id} {self._begun} {self._state.clock.now().isoformat()}"
        closing = Closing(
            self._parts,
            account_id,
            job.asked[0].flatten_id,
            list_id(workspace, name),
            lambda text: self._tell(job, "pending", text),
        )
        leaving = Leaving(self._parts, account_id)
        try:
            if not later and await self._tried(job, closing):
                return
            while await self._is_tried_again(job, leaving):
                if await self._tried(job, closing):
                    return
            job.leaving = True
            await leaving.to_the_end()
        finally:
            if self._jobs.get(account_id) is job:
                del self._jobs[account_id]

    async def _tried(self, job: _Job, closing: Closing) -> bool:
        """One try; True when the account is flat."""
        limit_s = TRY_S if job.tries else GIVE_UP_S
        try:
            async with asyncio.timeout(limit_s):
                evidence = await closing.until_flat(once=job.tries > 0)
        except TimeoutError:
            why = f"not flat after {limit_s:g} s: {job.progress.detail}"
        except (Turning, NobodyTrades) as turned:
            why, job.given_up = str(turned), isinstance(turned, Turning)
        except Exception as error:  # noqa: BLE001 - one account that falls over must be seen and must stop nobody
            why = f"the flatten broke: {error!r}"
        else:
            self._tell(job, "flat_confirmed", evidence)
            return True
        self._tell(job, "failed", why)
        if not job.tries:
            again = "nobody tries again" if job.given_up else "it is tried again, more and more slowly"
            text = f"{job.progress.account_id}: {why}; close it at the broker ({again})"
            self._alert("flatten-failed", text, job.progress.account_id)
        return False

    async def _is_tried_again(self, job: _Job, leaving: Leaving) -> bool:
        """Wait for the next slow try, while no close works. False: it was lifted, or there is none."""
        account_id = job.progress.account_id
        while job.tries < AGAIN_MAX:
            await leaving.wait(self._pause_s(job.tries))
            mark = self._state.book.flattens.get(account_id)
            if mark is None or not mark.failed:
                return False
            if job.given_up and not self._is_locked(account_id):
                return False
            session = self._sessions.of(account_id)
            if session is None or session.state != "live":
                continue  # nothing can be tried, so that nothing is counted
            job.tries += 1
            job.given_up = False
            self._tell(job, "pending", f"try {job.tries} after it had failed")
            return True
        job.given_up = True
        self._tell(job, "failed", f"{AGAIN_MAX} more tries have failed too: {job.progress.detail}")
        text = f"{account_id}: nobody tries again; close it at the broker"
        self._alert("flatten-failed", text, account_id)
        return False

    def _pause_s(self, tries: int) -> float:
        if is_around_reopen(self._state.clock.now()):
            return AGAIN_PAUSES_S[0]
        return AGAIN_PAUSES_S[min(tries, len(AGAIN_PAUSES_S) - 1)]

    def _is_locked(self, account_id: str) -> bool:
        book = self._state.book
        return is_locked(book.standings.get(account_id), book.measures.get(account_id))

    def _tell(self, job: _Job, state: Progress, detail: str) -> None:
        """Progress is the first request's; the outcome everybody's."""
        progress = job.progress
        if (progress.state, progress.detail) == (state, detail):
            return
        progress.state, progress.detail = state, detail
        for run in job.asked if state in ("flat_confirmed", "failed") else (job.asked[0],):
            given_up = state == "failed" and job.given_up
            entry = FlattenNoted(run.flatten_id, progress.account_id, state, detail, run.who, given_up)
            self._log.note(run.workspace, entry)

    async def stop(self) -> None:
        """End the loops; what was closed stays closed, and what was not goes on in the next process."""
        await ended([job.task for job in list(self._jobs.values()) if job.task is not None])
