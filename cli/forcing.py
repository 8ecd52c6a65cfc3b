"""`--force`: changes that would leave positions or orders without their leader's exits."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from cli.rim import NO, Stop, say
from kopitra.domain.errors import Conflict
from kopitra.store.held import StillHeld

T = TypeVar("T")

Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Change it even if positions or orders are left without their leader's exits; says which.",
    ),
]


async def forced(change: Callable[[bool], Awaitable[T]], force: bool) -> T:
    """Make the change, with `True` only where it was refused and `force` is given. Raises Stop or Conflict."""
    try:
        return await change(False)
    except StillHeld as refused:
        if not force:
            raise Stop(f"{refused.message} With --force it changes all the same.", NO) from None
        left = "; ".join(held.words for held in refused.held)
    except Conflict as refused:
        if refused.code != "projections-behind" or not force:
            raise
        left = "not known, because the gateway's rows for queries are behind"
    done = await change(True)
    say(f"left to you, no exit of a leader closes it now: {left}")
    return done
