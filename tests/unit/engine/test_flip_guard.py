"""A side that turns under a flatten is closed once and told; after that nobody but a person closes it."""

from decimal import Decimal

from gateway_container.engine.flip_guard import FlipGuard, Held

ES, NQ = "ESZ6", "NQZ6"


def held(**quantities: int) -> Held:
    return tuple((contract, Decimal(qty)) for contract, qty in quantities.items())


def test_what_shrinks_is_closed_without_a_word() -> None:
    """R-095."""
    guard = FlipGuard()
    for qty in (3, 2, 2, 1):
        assert guard.look(held(ESZ6=qty)) == (held(ESZ6=qty), (), ())
    assert guard.look(()) == ((), (), ())


def test_the_opposite_side_is_closed_once_and_is_an_incident() -> None:
    """R-095: stop and close have both filled."""
    guard = FlipGuard()
    guard.look(held(ESZ6=2, NQZ6=1))
    assert guard.look(held(ESZ6=-2, NQZ6=1)) == (held(ESZ6=-2, NQZ6=1), (ES,), ())
    assert guard.look(held(ESZ6=-2, NQZ6=1)).turned == ()


def test_a_side_that_turns_again_is_left_to_a_person() -> None:
    """R-095: closing it once more would only feed whatever trades there."""
    guard = FlipGuard()
    for qty in (2, -2):
        guard.look(held(ESZ6=qty, NQZ6=1))
    assert guard.look(held(ESZ6=2, NQZ6=1)) == (held(NQZ6=1), (ES,), (ES,))
