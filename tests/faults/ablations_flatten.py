"""What a flatten must have, taken out: one run per account, time for its own closes, the account to itself, and lists
that it may believe.
"""

from dataclasses import replace
from typing import Final

from gateway_container.engine import flatten_run, last_look
from gateway_container.engine.flatten import Flattener, FlattenRun
from tests.faults.knife import Knife, always
from tests.faults.trials import Ablation, Cards, Worlds

_RUN: Final = "gateway_container/engine/flatten_run.py"
_WORLDS: Final = Worlds(("tests/faults/test_regressions_flattens.py",))
#: two runs close once too, because each judges by every close of ours; but who asked second would be told other things
_AT_WORK: Final = Cards(
    ("tests/integration/gateway/test_flattens_at_work.py::test_two_flattens_of_one_account_are_one_run",)
)


def each_request_runs_alone(knife: Knife) -> None:
    """A second request for an account does not join the run that is under way."""
    ask = vars(Flattener)["_ask"]

    def alone(self: Flattener, run: FlattenRun, account_id: str) -> None:
        self._jobs.pop(account_id, None)
        ask(self, run, account_id)

    knife.swap(Flattener, "_ask", alone)


def closes_get_no_time(knife: Knife) -> None:
    """A flatten's own close is canceled with everything else that works."""
    knife.swap(flatten_run, "PATIENCE_S", (0.0,))


def leaders_close_beside_it(knife: Knife) -> None:
    """A leader's exit leaves while a flatten closes the same."""
    knife.swap(last_look, "is_flattening", always(result=False))


def a_successor_believes_any_list(knife: Knife) -> None:
    """A process that has just begun takes a list that lags behind its start for the truth."""
    init = vars(Flattener)["__init__"]

    def born_long_ago(self: Flattener, *parts: object) -> None:
        init(self, *parts)
        self._parts = replace(self._parts, born_ns=0)

    knife.swap(Flattener, "__init__", born_long_ago)


FLATTENS: Final = (
    Ablation(
        "one flatten per account",
        "gateway_container/engine/flatten.py",
        each_request_runs_alone,
        ("R-094",),
        _AT_WORK,
    ),
    Ablation("a flatten waits for its closes", _RUN, closes_get_no_time, ("R-094",), _WORLDS),
    Ablation(
        "a flatten has the account to itself",
        "gateway_container/engine/last_look.py",
        leaders_close_beside_it,
        ("R-012", "R-095"),
        _WORLDS,
    ),
    Ablation("first lists of a successor", _RUN, a_successor_believes_any_list, ("R-004", "R-095"), _WORLDS),
)
