"""The sender's own number in POST /signals: a whole number at the door too (R-030, found by the simulation)."""

import pytest

from tests.api.client import ENTER
from tests.api.world import World


async def test_a_sequence_number_arrives(world: World) -> None:
    assert (await world.signal({**ENTER, "leaderSequence": 41})).status == 202
    assert world.ledger.signals[0].sequence == 41


@pytest.mark.parametrize("sent", [0, -1, 1.5, "7", 2**53 + 1, True])
async def test_anything_but_a_positive_whole_number_is_refused(world: World, sent: object) -> None:
    reply = await world.signal({**ENTER, "leaderSequence": sent})
    assert reply.status == 422
    assert reply.pointers == ["/leaderSequence"]
