"""Flip guard (R-095): a contract that shows the opposite side while it is being closed was closed twice.

A stop and our close may both have filled. The difference is closed once and is an incident; a second turn is left to
a person, because something else trades there.
"""

from decimal import Decimal
from typing import Final, NamedTuple

#: turns of one contract that a flatten corrects by itself
TURNS_MAX: Final = 1
#: contract -> signed quantity
Held = tuple[tuple[str, Decimal], ...]


class Judged(NamedTuple):
    """What may be closed now, and which contracts have turned in this read."""

    closable: Held
    turned: tuple[str, ...]
    #: contracts that turned too often: nobody closes them but a person
    given_up: tuple[str, ...]


class FlipGuard:
    """One account in one flatten."""

    def __init__(self) -> None:
        self._long: dict[str, bool] = {}  # bounded: contracts of one account
        self._turns: dict[str, int] = {}

    def look(self, held: Held) -> Judged:
        """Judge one read."""
        turned = tuple(c for c, qty in held if qty and self._long.get(c, qty > 0) is not (qty > 0))
        for contract in turned:
            self._turns[contract] = self._turns.get(contract, 0) + 1
        self._long.update((contract, qty > 0) for contract, qty in held if qty)
        given_up = tuple(c for c, _ in held if self._turns.get(c, 0) > TURNS_MAX)
        return Judged(tuple(h for h in held if h[0] not in given_up), turned, given_up)
