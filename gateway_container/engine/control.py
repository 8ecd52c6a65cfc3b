"""What operators do: kill switches, flattens, lifting a block. In force first, then written with who and why."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.flatten import Flattener, FlattenRun
from gateway_container.engine.log import Log
from gateway_container.engine.reach import accounts_in, owns
from gateway_container.engine.state import State
from gateway_container.engine.views import Views
from kopitra.domain.book import root_of
from kopitra.domain.errors import StoreError
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import AlertRaised, EntriesBlocked, SwitchChanged
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState
from kopitra.store.ending import ended
from kopitra.store.shelf import Shelf
from kopitra.store.switches import SwitchRow
from kopitra.wire.views import FlattenAccountView, FlattenView, PositionView

#: who threw a switch that no person threw
BRAKE: Final = "runaway-brake"
#: seconds between two tries to write a switch's row
ROW_RETRY_S: Final = 1.0
#: seconds after which switches that were not read count as reducing
SWITCHES_GOOD_S: Final = 5

_log = structlog.get_logger("kopitra.control")


class Control:
    """Works while the database is away: a switch acts at once, its record follows."""

    def __init__(self, state: State, log: Log, flattener: Flattener, views: Views, shelf: Shelf) -> None:
        self._state = state
        self._log = log
        self._flattener = flattener
        self._views = views
        self._shelf = shelf
        self._writes: set[asyncio.Task[None]] = set()
        self._requests = 0
        #: told when a switch was lifted
        self.on_lifted: Callable[[], None] = lambda: None

    def switches_read(self, read_ns: int) -> None:
        """The switches in force here were the newest at `read_ns` (monotonic): good for another while (R-093)."""
        self._state.switches_until_ns = read_ns + SWITCHES_GOOD_S * 1_000_000_000

    def owns(self, workspace: str, scope: SwitchScope, scope_id: str) -> bool:
        """True when the scope lies inside the workspace; a broker does when one of its accounts uses it."""
        return owns(self._state.config, workspace, scope, scope_id)

    def accounts_in(self, workspace: str, scope: SwitchScope, scope_id: str) -> frozenset[str]:
        """The workspace's accounts that a scope covers."""
        return accounts_in(self._state.config, workspace, scope, scope_id)

    def switches(self, workspace: str) -> tuple[KillSwitch, ...]:
        """Switches that can touch the workspace."""
        return self._views.switches(workspace)

    async def set_switch(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        """Set or lift; in force in this process when it returns. The caller has checked the scope."""
        # Inside one workspace a broker switch must not stop the neighbours: it covers the accounts one by one.
        if scope == "broker":
            for account_id in sorted(self.accounts_in(workspace, scope, scope_id)):
                await self._set(workspace, "account", account_id, state, reason, who)
            return KillSwitch(scope, scope_id, state, reason, who)
        return await self._set(workspace, scope, scope_id, state, reason, who)

    async def _set(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        epoch = self._state.book.switches.epoch(scope, scope_id) + 1
        switch = self._lifted(KillSwitch(scope, scope_id, state, reason, who, epoch))
        kept = self._throw(workspace, switch)
        if kept is not None:
            await kept
        return switch

    def _throw(self, workspace: str, switch: KillSwitch) -> asyncio.Future[bool] | None:
        """In force when it returns; the future says when the local file has it, where the journal is away."""
        self._state.stopped(switch)
        kept = self._log.secure(workspace, SwitchChanged(switch))
        row = SwitchRow(
            switch.scope, switch.scope_id, workspace, switch.state, switch.epoch, switch.reason, switch.who,
            self._state.clock.now(),
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._write(row))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return kept

    def _lifted(self, switch: KillSwitch) -> KillSwitch:
        """What was stopped does not start again at once: reducing until its accounts were compared (R-098)."""
        if (
            switch.state != "active"
            or self._state.book.switches.state(switch.scope, switch.scope_id) == "active"
        ):
            return switch
        self.on_lifted()
        return replace(switch, state="reducing", lifting=True)

    def adopt(self, rows: Sequence[SwitchRow]) -> None:
        """Changes that other processes wrote into the table; one that is older than ours changes nothing."""
        for row in rows:
            if row.epoch > self._state.book.switches.epoch(row.scope, row.scope_id):
                switch = KillSwitch(row.scope, row.scope_id, row.state, row.reason, row.who, row.epoch)
                switch = self._lifted(switch)
                self._state.stopped(switch)
                self._log.note(row.workspace, SwitchChanged(switch))

    def covers(self, switch: KillSwitch) -> tuple[str, ...]:
        """Active accounts under a switch, in all workspaces, sorted."""
        config = self._state.config
        workspaces = sorted({a.workspace for a in config.accounts.values()})
        found = [
            self.accounts_in(w, switch.scope, switch.scope_id)
            for w in workspaces
            if self._concerns(w, switch)
        ]
        return tuple(sorted(a for some in found for a in some if config.accounts[a].active))

    def _concerns(self, workspace: str, switch: KillSwitch) -> bool:
        return switch.scope != "workspace" or switch.scope_id == workspace

    def throw(self, switch: KillSwitch) -> None:
        """Put a switch in force and write it down, for those who act beside people."""
        scope, scope_id = switch.scope, switch.scope_id
        workspace = self._state.workspace_of(scope_id) if scope == "account" else ""
        if scope == "workspace":
            workspace = scope_id
        elif scope == "leader" and (leader := self._state.config.leaders.get(scope_id)) is not None:
            workspace = leader.workspace
        self._throw(workspace, switch)

    def brake(self, account_id: str, reason: str) -> None:
        """Halt an account that runs away (R-099); once, until a person lifts it."""
        switches = self._state.book.switches
        if switches.state("account", account_id) == "halted":
            return
        epoch = switches.epoch("account", account_id) + 1
        why = f"runaway brake: {reason}"
        workspace = self._state.workspace_of(account_id)
        self._throw(workspace, KillSwitch("account", account_id, "halted", why, BRAKE, epoch))
        text = f"{reason}: the account is halted; look at its orders, flatten it if need be, then lift the switch"
        self._log.note(workspace, AlertRaised("runaway-brake", text, account_id))

    async def _write(self, row: SwitchRow) -> None:
        """For other replicas, until it is there or overtaken; the journal holds the truth."""
        while row.epoch == self._state.book.switches.epoch(row.scope, row.scope_id):
            try:
                await self._shelf.set_switch(row)
                return
            except StoreError as error:
                _log.warning(
                    "switch_row_not_written", scope=row.scope, scope_id=row.scope_id, error=error.code
                )
            await asyncio.sleep(ROW_RETRY_S)

    async def stop(self) -> None:
        """No more tries; the journal or the local file has what the rows lack."""
        await ended(list(self._writes))

    async def flatten(self, order: FlattenOrder) -> FlattenView:
        """Close everything in a scope; positions first, progress later."""
        accounts = self.accounts_in(order.workspace, order.scope, order.scope_id)
        if order.accounts is not None:
            accounts &= order.accounts
        if order.halt:
            await self.set_switch(
                order.workspace, order.scope, order.scope_id, "reducing", order.reason, order.who
            )
        self._requests += 1
        name = f"{order.who} {self._state.clock.now().isoformat()} {self._requests}"
        return self._shown(self._flattener.start(order.workspace, sorted(accounts), order.who, name))

    def flatten_progress(self, workspace: str, flatten_id: str) -> FlattenView | None:
        """Where a flatten stands."""
        run = self._flattener.progress(flatten_id)
        return self._shown(run) if run is not None and run.workspace == workspace else None

    def _shown(self, run: FlattenRun) -> FlattenView:
        accounts = tuple(
            FlattenAccountView(
                account_id=a.account_id,
                state=a.state,
                detail=a.detail,
                positions=tuple(
                    PositionView(account_id=a.account_id, symbol=symbol, qty=qty)
                    for symbol, qty in a.positions
                    if qty and root_of(symbol) in INSTRUMENTS
                ),
            )
            for a in run.accounts.values()
        )
        return FlattenView(flatten_id=run.flatten_id, done=run.done, accounts=accounts)

    def unblock(self, workspace: str, account_id: str) -> None:
        """A person has looked at the alert: entries of the account go on."""
        self._log.note(workspace, EntriesBlocked(account_id, ""))
