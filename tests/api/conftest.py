from collections.abc import Iterator

import pytest

from tests.api.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    # Nobody can cancel an append: a test that fails with one in flight would else wait for it for ever.
    made.ledger.release()
