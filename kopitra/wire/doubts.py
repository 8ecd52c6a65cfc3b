"""Orders that nobody knows the fate of, for people: what they are, and what a person decides of one."""

from typing import Literal

from pydantic import Field

from kopitra.domain.orders import Role, State
from kopitra.domain.signals import Side
from kopitra.wire.scalars import Answer, Note, NumberOut, Shape

Verdict = Literal["park", "not_placed"]


class DoubtView(Answer):
    """One order in doubt, or parked with a person."""

    cl_ord_id: str
    account_id: str
    role: Role
    state: State
    symbol: str
    side: Side
    qty: NumberOut
    reason: str = ""


class DoubtBody(Shape):
    """What a person decides: `park` it (it is looked up no more), or `not_placed`: the broker's own screen shows that
    it never had it. The second needs `confirm`: true, because a wrong word leaves a position that nobody expects."""

    verdict: Verdict
    reason: Note = Field(description="Why; stands in the journal beside who.")
    confirm: bool = False
