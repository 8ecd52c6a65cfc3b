"""What a start finds that nobody answers any more."""

import pytest

from gateway_container.engine.recovery import unanswered
from tests.unit.domain.copy_world import World, d, rule


@pytest.mark.parametrize(
    "cancel, replace, told",
    [
        (True, True, ["cancel", "replace"]),
        (True, False, ["cancel"]),
        (False, True, ["replace"]),
        (False, False, []),
    ],
)
def test_r018_the_fate_of_each_request_without_an_answer_is_unknown(
    cancel: bool, replace: bool, told: list[str]
) -> None:
    world = World([rule("a1")])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990))
    child = world.child()
    world.accept(child)
    child.cancel_sent, child.replace_sent = cancel, replace
    assert [failed.request for failed in unanswered(world.book)] == told
