"""What a switch or a flatten of a workspace may touch, by the configuration alone."""

from gateway_container.engine.config import GatewayConfig
from kopitra.domain.switches import SwitchScope


def owns(config: GatewayConfig, workspace: str, scope: SwitchScope, scope_id: str) -> bool:
    """True when the scope lies inside the workspace; a broker does when one of its accounts uses it."""
    match scope:
        case "workspace":
            return scope_id == workspace
        case "account":
            account = config.accounts.get(scope_id)
            return account is not None and account.workspace == workspace
        case "leader":
            leader = config.leaders.get(scope_id)
            return leader is not None and leader.workspace == workspace
        case "broker":
            return bool(accounts_in(config, workspace, scope, scope_id))
        case "global":
            return False


def accounts_in(config: GatewayConfig, workspace: str, scope: SwitchScope, scope_id: str) -> frozenset[str]:
    """The workspace's accounts that a scope covers."""
    own = [a for a in config.accounts.values() if a.workspace == workspace]
    match scope:
        case "workspace" | "global":
            return frozenset(a.account_id for a in own)
        case "account":
            return frozenset(a.account_id for a in own if a.account_id == scope_id)
        case "broker":
            return frozenset(a.account_id for a in own if a.broker == scope_id)
        case "leader":
            return frozenset(r.account_id for r in config.rules_for(scope_id) if r.workspace == workspace)
