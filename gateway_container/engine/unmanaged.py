"""Whose exits are followed no more: holdings and open orders that the configuration in force leaves to nobody."""

from collections.abc import Callable

from gateway_container.engine.config import GatewayConfig
from kopitra.domain.book import Book, root_of
from kopitra.domain.copy_rules import CopyRule, source_of

#: (account, leader)
Pair = tuple[str, str]


def unmanaged(book: Book, before: GatewayConfig, now: GatewayConfig) -> dict[Pair, str]:
    """Why the exits of a pair that holds something, or has open orders, are not followed any more.

    A map that turned away from what is held shows only against the configuration `before`; give `now` twice when
    there is none.
    """
    found: dict[Pair, str] = {}
    for pair in {**book.holdings, **book.open}:
        roots = _roots(book, *pair)
        why = _off(now, *pair) or _turned(roots, before, now, *pair) if roots else ""
        if why:
            found[pair] = why
    return found


def _roots(book: Book, account_id: str, leader: str) -> list[str]:
    held = {root_of(contract) for contract, position in book.held(account_id, leader).items() if position.qty}
    return sorted(held | {root_of(order.intent.symbol) for order in book.open_children(account_id, leader)})


def _off(config: GatewayConfig, account_id: str, leader: str) -> str:
    account = config.accounts.get(account_id)
    if account is None or not account.active:
        return "the account is switched off"
    if account.login_id not in config.logins:
        return f"its login {account.login_id} is switched off or cannot be read"
    if leader not in config.leaders:
        return f"the leader {leader} is switched off"
    if _rule(config, account_id, leader) is None:
        return f"it has no rule behind {leader} any more"
    return ""


def _turned(roots: list[str], before: GatewayConfig, now: GatewayConfig, account_id: str, leader: str) -> str:
    was, made = _rule(before, account_id, leader), _rule(now, account_id, leader)
    source = before.leaders[leader].account_id if leader in before.leaders else None
    if source is not None and source != now.leaders[leader].account_id:
        return f"the drop copy of {leader} from {source} has ended"
    if was is None or made is None:
        return ""
    for root in roots:
        fed = source_of(was.symbol_map, root)
        if fed is not None and fed != source_of(made.symbol_map, root):
            return f"its rule does not copy {leader}'s {fed} to {root} any more"
    return ""


def _rule(config: GatewayConfig, account_id: str, leader: str) -> CopyRule | None:
    return next((rule for rule in config.rules_for(leader) if rule.account_id == account_id), None)


class Strays:
    """Tells people once of each pair that a configuration leaves alone."""

    def __init__(self, alert: Callable[[str, str, str], None]) -> None:
        self._alert = alert
        self._told: dict[Pair, str] = {}  # bounded: pairs of the configuration that hold something

    def look(self, book: Book, before: GatewayConfig, now: GatewayConfig) -> None:
        """Raise an alert for what is new. `now` must be in force already."""
        found = unmanaged(book, before, now)
        for pair, why in found.items():
            if self._told.get(pair) == why:
                continue
            account_id, leader = pair
            self._alert(
                "exits-not-followed",
                f"{account_id} holds {', '.join(_roots(book, *pair))} because of {leader}, and {why}: exits are not "
                "followed. Take the change back, or close it at the broker.",
                account_id,
            )
        self._told = found
