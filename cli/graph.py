"""The copy graph: no account may follow itself, over however many leaders (R-047)."""

from cli.house import House
from cli.rim import Stop
from kopitra.domain.copy_rules import InvalidRule, check_acyclic
from kopitra.store.leaders import LeaderRow, list_leaders
from kopitra.store.rules import RuleRow, list_rules


async def check_graph(
    house: House, workspace: str, *, leader: LeaderRow | None = None, rule: RuleRow | None = None
) -> None:
    """Raise Stop when the graph would be circular with this leader, or this rule, as it is to be."""
    sources = {row.leader_id: row.account_id for row in await list_leaders(house.db, workspace)}
    if leader is not None:
        sources[leader.leader_id] = leader.account_id
    rules = {row.rule_id: row for row in await list_rules(house.db, workspace)}
    if rule is not None:
        rules[rule.rule_id] = rule
    edges = [
        (source, row.account_id)
        for row in rules.values()
        if row.active and (source := sources.get(row.leader_id)) is not None
    ]
    try:
        check_acyclic(edges)
    except InvalidRule as error:
        raise Stop(f"{error.message}.") from None
