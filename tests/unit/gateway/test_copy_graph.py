"""A configuration in which an account would follow itself loses the rules that close the circle, and no others."""

from gateway_container.config_source import acyclic
from gateway_container.engine.config import LeaderConfig
from kopitra.domain.copy_rules import CopyRule


def _leader(name: str, account: str | None) -> LeaderConfig:
    return LeaderConfig(name, "w", name, account)


def _rule(number: int, leader: str, account: str) -> CopyRule:
    return CopyRule(f"r{number}", 1, "w", leader, account)


def test_r047_a_follower_that_leads_its_own_leader_is_left_out() -> None:
    leaders = [_leader("L1", "a"), _leader("L2", "b")]
    rules = [_rule(2, "L2", "a"), _rule(1, "L1", "b"), _rule(3, "L1", "c")]
    assert [r.rule_id for r in acyclic(leaders, rules)] == ["r1", "r3"]
    assert acyclic(leaders, list(reversed(rules))) == acyclic(leaders, rules)


def test_r047_an_account_that_follows_itself_is_left_out() -> None:
    assert acyclic([_leader("L1", "a")], [_rule(1, "L1", "a")]) == []


def test_a_chain_of_leaders_stays_as_it_is() -> None:
    leaders = [_leader("L1", "a"), _leader("L2", "b"), _leader("EA", None)]
    rules = [_rule(3, "L1", "b"), _rule(2, "L2", "c"), _rule(1, "EA", "a")]
    assert acyclic(leaders, rules) == rules
