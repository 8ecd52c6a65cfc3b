"""No command makes an account follow itself, by whatever door (R-047)."""

import json
from collections.abc import Callable

from brokers import registry
from cli.logins import asked_by

Kopitra = Callable[..., str]


def test_r047_a_leader_or_a_rule_that_closes_a_circle_is_refused(kopitra: Kopitra) -> None:
    broker = next(iter(registry()))
    secrets = json.dumps(dict.fromkeys(asked_by(registry()[broker]).required, "only-for-this-test"))
    kopitra("workspace create main")
    kopitra(f"login create d1 --broker {broker} --secrets-from-stdin", typed=secrets)
    for name in ("a", "b"):
        kopitra(f"account create {name} --login d1 --broker-account {name}-1")
    kopitra("leader create one --account a")
    kopitra("leader create two")
    kopitra("rule create one b")
    kopitra("rule create two a")
    assert "circular" in kopitra("leader change two --account b", code=3)
    kopitra("rule change two-a --off")
    kopitra("leader change two --account b")
    assert "circular" in kopitra("rule change two-a --on", code=3)
