"""What operators do: kill switches, flattens, lifting a block. In force first, then written with who and why."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.flatten import Flattener, FlattenRun
from gateway_container.engine.log import Log
from gateway_container.engine.reach import accounts_in, owns
from gateway_container.engine.state import State
from gateway_container.engine.switch_rows import SwitchRows, switch_of
from gateway_container.engine.views import Views
from kopitra.domain.book import root_of
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import AlertRaised, EntriesBlocked, SwitchChanged
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState, broker_in, broker_of, strictness
from kopitra.store.shelf import Shelf
from kopitra.store.switches import SwitchRow
from kopitra.wire.views import FlattenAccountView, FlattenView, PositionView

#: who threw a switch that no person threw
BRAKE: Final = "runaway-brake"
#: seconds that the answer waits for the table, where another process may have set the same switch
ROW_WAIT_S: Final = 0.25
#: seconds that the answer to a flatten, which is under way meanwhile, waits until a crash cannot forget it
KEPT_WAIT_S: Final = 3.0
#: seconds after which switches that were not read count as reducing
SWITCHES_GOOD_S: Final = 5


class Control:
    """Works while the database is away: a switch acts at once, its record follows."""

    def __init__(self, state: State, log: Log, flattener: Flattener, views: Views, shelf: Shelf) -> None:
        self._state = state
        self._log = log
        self._flattener = flattener
        self._views = views
        self._rows = SwitchRows(state, shelf, self._take)
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
        """Set or lift; in force in this process when it returns: what was asked for, or something stricter that another
        process set at the same time. The caller has checked the scope."""
        name = name_of(workspace, scope, scope_id)
        switch = await self._set(workspace, KillSwitch(scope, name, state, reason, who))
        await self._rows.written(switch, ROW_WAIT_S)
        stands = self._state.book.switches.get(scope, name)
        stands = stands if stands is not None and strictness(stands) >= strictness(switch) else switch
        return replace(stands, scope_id=scope_id)

    async def _set(self, workspace: str, asked: KillSwitch) -> KillSwitch:
        epoch = self._state.book.switches.epoch(asked.scope, asked.scope_id) + 1
        switch = self._lifted(replace(asked, epoch=epoch))
        kept = self._throw(workspace, switch)
        if kept is not None:
            await kept
        return switch

    async def stop_at_least(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> None:
        """Set it unless as much is stopped under this name already: never weaker than it was."""
        name = name_of(workspace, scope, scope_id)
        if not self._state.book.switches.is_at_least(scope, name, state):
            await self._set(workspace, KillSwitch(scope, name, state, reason, who))

    def _throw(self, workspace: str, switch: KillSwitch) -> asyncio.Future[bool] | None:
        """In force when it returns; the future says when the local file has it, where the journal is away."""
        known = self._state.book.switches.epoch(switch.scope, switch.scope_id)
        self._state.stopped(switch)
        kept = self._log.secure(workspace, SwitchChanged(switch))
        self._rows.write(workspace, switch, known)
        return kept

    def _take(self, workspace: str, switch: KillSwitch) -> None:
        """What stands in the table, or is to stand there: in force, and into the journal."""
        self._state.stopped(switch)
        self._log.note(workspace, SwitchChanged(switch))

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
        """Changes that other processes wrote into the table; one that is older than ours changes nothing, one that is
        as new counts if it is stricter."""
        for row in rows:
            if self._rows.takes(row):
                self._take(row.workspace, self._lifted(switch_of(row)))

    def covers(self, switch: KillSwitch) -> tuple[str, ...]:
        """Active accounts under a switch, in all workspaces, sorted."""
        config = self._state.config
        only, scope_id = "", switch.scope_id
        if switch.scope == "workspace":
            only = scope_id
        elif switch.scope == "broker":
            only, scope_id = broker_of(scope_id)
        workspaces = sorted({a.workspace for a in config.accounts.values()})
        found = [self.accounts_in(w, switch.scope, scope_id) for w in workspaces if only in ("", w)]
        return tuple(sorted(a for some in found for a in some if config.accounts[a].active))

    def throw(self, switch: KillSwitch) -> None:
        """Put a switch in force and write it down, for those who act beside people."""
        scope, scope_id = switch.scope, switch.scope_id
        workspace = self._state.workspace_of(scope_id) if scope == "account" else ""
        if scope == "workspace":
            workspace = scope_id
        elif scope == "broker":
            workspace, _ = broker_of(scope_id)
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

    async def stop(self) -> None:
        """No more tries; the journal or the local file has what the rows lack."""
        await self._rows.stop()

    async def flatten(self, order: FlattenOrder) -> FlattenView:
        """Close everything in a scope; positions first, progress later."""
        accounts = self.accounts_in(order.workspace, order.scope, order.scope_id)
        if order.accounts is not None:
            accounts &= order.accounts
        if order.halt:
            await self.stop_at_least(
                order.workspace, order.scope, order.scope_id, "reducing", order.reason, order.who
            )
        self._requests += 1
        name = f"{order.who} {self._state.clock.now().isoformat()} {self._requests}"
        run = self._flattener.start(order.workspace, sorted(accounts), order.who, name)
        if run.kept:
            await asyncio.wait(run.kept, timeout=KEPT_WAIT_S)
        return self._shown(run)

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


def name_of(workspace: str, scope: SwitchScope, scope_id: str) -> str:
    """Under what a switch of a workspace stands: a broker's must not stop the neighbours."""
    return broker_in(workspace, scope_id) if scope == "broker" and workspace else scope_id
