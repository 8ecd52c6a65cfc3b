"""Bodies of the console's calls under /ops/v1."""

from typing import Annotated

from pydantic import Field

from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.wire.scalars import ForeignId, Note, Shape

#: accounts named in one body
ACCOUNTS_MAX = 500

ScopeId = Annotated[str, Field(max_length=100, pattern=r"^[ -~]*$")]


class SwitchBody(Shape):
    """Set or lift one kill switch. Loosening needs `confirm`: true, and an admin."""

    scope: SwitchScope
    scope_id: ScopeId = Field(
        "", description='Id of the workspace, leader, broker or account; "" for global.'
    )
    state: SwitchState
    reason: Note
    confirm: bool = False


class FlattenBody(Shape):
    """Close every position in a scope, until each broker confirmed flat; `halt` stops entries there first."""

    scope: SwitchScope
    scope_id: ScopeId = ""
    reason: Note
    halt: bool = True


class TicketBody(Shape):
    """Ask for a stream ticket; without `accounts` it is for all that the operator may see."""

    accounts: Annotated[
        tuple[ForeignId, ...] | None, Field(min_length=1, max_length=ACCOUNTS_MAX, strict=False)
    ] = None
