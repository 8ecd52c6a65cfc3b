"""Loss limits for people: where an account stands, by each rule, and the body that begins a new measuring start."""

from datetime import date

from pydantic import Field

from kopitra.domain.loss_ladder import Rung
from kopitra.wire.scalars import Answer, Note, Number, NumberOut, Shape, TimeOut


class LimitRuleView(Answer):
    """One rule now. `value` is what is held against `floor`; `room` is the money between them."""

    rule: str
    used_percent: NumberOut
    value: NumberOut
    floor: NumberOut
    room: NumberOut
    text: str


class LimitsView(Answer):
    """Where an account stands with its loss limits.

    `stop` is the reason that refuses its entries now, empty while they may go; `text` says it with its numbers. Equity
    is null while it is not known; `equityAgeMs` is how old it, or the last that was known, is.
    """

    account_id: str
    version: int
    effective_from: date
    verified_on: date
    rung: Rung = "clear"
    stop: str = ""
    text: str = ""
    balance: NumberOut | None = None
    equity: NumberOut | None = None
    equity_age_ms: int
    #: the trading day, and when it ends
    day: date
    day_ends: TimeOut
    #: which measuring start this is, and from what balance
    measuring_start: int | None = None
    start_balance: NumberOut | None = None
    highest_equity: NumberOut | None = None
    trades_today: int = 0
    rules: tuple[LimitRuleView, ...] = ()


class RestartBody(Shape):
    """Measure an account's losses anew: the only way out of a maximum loss. Needs `confirm`: true, and an admin."""

    reason: Note = Field(description="Why; stands in the journal beside who.")
    balance: Number | None = Field(None, description="The balance to count from; left out: the broker's.")
    peak: Number | None = Field(None, description="The highest equity so far, as the firm counts it.")
    confirm: bool = False
