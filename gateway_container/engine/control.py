"""What operators do: kill switches, flattens, lifting a block. Effective in memory first, journalled with who and why."""

from collections.abc import Sequence

from gateway_container.engine.flatten import Flattener, FlattenRun
from gateway_container.engine.log import Log
from gateway_container.engine.state import State
from kopitra.domain.errors import Refusal
from kopitra.domain.journal import EntriesBlocked, SwitchChanged
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState


class Control:
    """Works while the database is away: the switch acts at once, its record follows."""

    def __init__(self, state: State, log: Log, flattener: Flattener) -> None:
        self._state = state
        self._log = log
        self._flattener = flattener

    def set_switch(
        self, workspace: str, scope: SwitchScope, scope_id: str, to: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        """Stop (or let go) a scope of this workspace. Raises Refusal for a scope outside it or without a reason."""
        if not reason.strip():
            raise Refusal("Say why: a kill switch needs a reason.", code="missing-reason")
        self._check_scope(workspace, scope, scope_id)
        epoch = self._state.book.switches.epoch(scope, scope_id) + 1
        switch = KillSwitch(scope, scope_id, to, reason, who, epoch)
        self._log.note(workspace, SwitchChanged(switch))
        return switch

    def _check_scope(self, workspace: str, scope: SwitchScope, scope_id: str) -> None:
        config = self._state.config
        match scope:
            case "workspace":
                known = scope_id == workspace
            case "account":
                account = config.accounts.get(scope_id)
                known = account is not None and account.workspace == workspace
            case "leader":
                leader = config.leaders.get(scope_id)
                known = leader is not None and leader.workspace == workspace
            case "global" | "broker":
                raise Refusal(
                    f"A {scope} switch stops other workspaces too: only the platform's own operator may set it.",
                    code="scope-not-allowed",
                )
        if not known:
            raise Refusal(f"There is no {scope} {scope_id} here.", code="unknown-scope")

    def flatten(self, workspace: str, account_ids: Sequence[str], who: str, request_id: str) -> FlattenRun:
        """Flatten these accounts (all of the workspace when empty). Raises Refusal for a foreign account."""
        own = [a.account_id for a in self._state.config.accounts.values() if a.workspace == workspace]
        chosen = list(dict.fromkeys(account_ids)) or own
        foreign = next((a for a in chosen if a not in own), None)
        if foreign is not None:
            raise Refusal(f"There is no account {foreign} here.", code="unknown-account")
        return self._flattener.start(workspace, chosen, who, request_id)

    def flatten_progress(self, workspace: str, flatten_id: str) -> FlattenRun | None:
        """Where a flatten stands."""
        run = self._flattener.progress(flatten_id)
        return run if run is not None and run.workspace == workspace else None

    def unblock(self, workspace: str, account_id: str) -> None:
        """A person has looked at the alert: entries of the account go on. Raises Refusal for a foreign account."""
        self._check_scope(workspace, "account", account_id)
        self._log.note(workspace, EntriesBlocked(account_id, ""))
