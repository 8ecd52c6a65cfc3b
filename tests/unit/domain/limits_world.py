"""An account with loss limits and a broker that names its money: the domain's functions wired as the engine does."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from kopitra.domain.book import Book
from kopitra.domain.fold import fold
from kopitra.domain.journal import EquityMarked, LimitRung
from kopitra.domain.loss_ladder import Standing, Use, stands, uses
from kopitra.domain.measuring import Measure, NewStart, Reading, begun, begun_anew, observed
from kopitra.domain.prop_limits import PropLimits
from kopitra.store.encoding import Decoder, encode

ACCOUNT = "prop-7"
DAY = date(2026, 11, 20)
AT = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def d(value: int | str) -> Decimal:
    """A Decimal."""
    return Decimal(value)


def limits(**changes: object) -> PropLimits:
    """Limits of a 50,000 account, marked to the dollar; no rules unless given."""
    return PropLimits(**({"initial_balance": d(50_000), "mark_step": d(1)} | changes))  # pyright: ignore[reportArgumentType]


def reading(balance: int | str, equity: int | str | None = None) -> Reading:
    """A balance, and equity where it is another one."""
    worth = d(balance if equity is None else equity)
    return Reading(d(balance), worth, worth)


@dataclass
class Account:
    """One account: book and journal."""

    limits: PropLimits
    day: date = DAY
    book: Book = field(default_factory=Book)
    journal: list[EquityMarked | LimitRung] = field(default_factory=list[EquityMarked | LimitRung])
    found: tuple[Use, ...] = ()

    @property
    def measure(self) -> Measure:
        return self.book.measures[ACCOUNT]

    @property
    def standing(self) -> Standing | None:
        """Where it stands now: a standing of another day or start is none."""
        found = self.book.standings.get(ACCOUNT)
        return found if found is not None and found.holds(self.measure) else None

    @property
    def rung(self) -> str:
        return self.standing.rung if self.standing is not None else "clear"

    @property
    def entries_stop(self) -> bool:
        return self.rung in ("reducing", "locked")

    def look(self, balance: int | str, equity: int | str | None = None, asked: NewStart | None = None) -> str:
        """One look at the broker's numbers; the rung after it."""
        now = reading(balance, equity)
        known = self.book.measures.get(ACCOUNT)
        if asked is not None:
            made = begun_anew(self.limits, self.day, now, known, asked)
        elif known is None:
            made = begun(self.limits, self.day, now)
        else:
            made = observed(known, self.limits, self.day, now)
        if made is not known:
            self.note(EquityMarked(ACCOUNT, made, now.balance, now.equity, AT))
        self.found = uses(self.limits, self.measure, now)
        before = self.book.standings.get(ACCOUNT)
        standing = stands(self.limits, self.measure, self.found, before)
        if standing != before and (before is not None or standing.rung != "clear"):
            self.note(LimitRung(ACCOUNT, standing, now.equity, self.limits.version, AT))
        return self.rung

    def use(self, rule: str) -> Use:
        """One rule as it stood at the last look."""
        return next(use for use in self.found if use.rule == rule)

    def note(self, entry: EquityMarked | LimitRung) -> None:
        self.journal.append(entry)
        fold(self.book, entry)

    def crash(self, lost: int = 0) -> None:
        """A kill -9: the book is folded anew from the bytes of the journal, of which the last few may be missing."""
        if lost:
            del self.journal[-lost:]
        self.book = Book()
        for entry in self.journal:
            fold(self.book, Decoder(type(entry))(encode(entry)))
