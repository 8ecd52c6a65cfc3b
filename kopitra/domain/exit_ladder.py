"""How an exit that nobody takes is tried again: how often, and which way. Pure (R-064, R-065).

Each try is a new close, sized by what is held then. The house believes the broker's own word about the market, never
a calendar; the calendar only says when to try more often.
"""

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final, Literal
from zoneinfo import ZoneInfo

from kopitra.domain.book import root_of
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import sign

#: seconds between tries, by how many were made: (tries below, pause); the last pause repeats
PAUSES_S: Final = ((30, 1.0), (60, 5.0))
LAST_PAUSE_S: Final = 30.0
#: tries after which a person is asked to close by hand
PAGE_AT: Final = 5
#: how far through the last known price a marketable limit may trade, ticks
COLLAR_TICKS: Final = 20
#: CME products open again at 17:00 in Chicago, after the daily break and after the weekend
_CHICAGO: Final = ZoneInfo("America/Chicago")
_REOPEN: Final = time(17)
_AROUND: Final = timedelta(minutes=1)

Rung = Literal["native", "collar", "market"]


def pause_s(tries: int, now: datetime) -> float:
    """Seconds until the next try: never more often than once a second, and so often around the re-open."""
    if is_around_reopen(now):
        return PAUSES_S[0][1]
    return next((pause for below, pause in PAUSES_S if tries < below), LAST_PAUSE_S)


def is_around_reopen(now: datetime) -> bool:
    """CME products are about to open again, or have just done so."""
    local = now.astimezone(_CHICAGO)
    return abs(local - datetime.combine(local.date(), _REOPEN, _CHICAGO)) <= _AROUND


def rungs(native: bool, ioc: bool) -> tuple[Rung, ...]:
    """The ladder that a broker offers, to be climbed again and again.

    `native`: its own close exists and closes no more than is ours; `ioc`: a limit that does not fill does not rest.
    """
    return (*(("native",) if native else ()), *(("collar",) if ioc else ()), "market")


def rung_of(tries: int, ladder: tuple[Rung, ...]) -> Rung:
    """The way of the next try."""
    return ladder[tries % len(ladder)]


def as_rung(close: OrderIntent, rung: Rung, price: Decimal | None) -> OrderIntent:
    """A market close in the shape of its rung; without a known price a collar is a market order."""
    match rung:
        case "native":
            return close._replace(native=True)
        case "collar" if price is not None:
            instrument = INSTRUMENTS[root_of(close.symbol)]
            level = price + sign(close.side) * COLLAR_TICKS * instrument.tick_size
            return close._replace(
                ord_type="limit", price=instrument.snap(level, "nearest"), time_in_force="ioc"
            )
        case _:
            return close
