"""The labelled points at which a gateway process dies (T-23): before or after the n-th call of one function.

The product knows nothing of them: the armed process (`armed.py`) wraps the function before it starts.
"""

from dataclasses import dataclass
from typing import Final, Literal

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Point:
    """`target` is `module:name` or `module:Class.method`."""

    target: str
    when: When
    nth: int = 1

    @property
    def label(self) -> str:
        """As it is printed, and as the armed process takes it."""
        return f"{self.target}@{self.when}#{self.nth}"

    @classmethod
    def parse(cls, label: str) -> "Point":
        """From a label."""
        target, _, rest = label.partition("@")
        when, _, nth = rest.partition("#")
        assert when in ("before", "after"), label
        return cls(target, when, int(nth))


_E: Final = "gateway_container.engine."
_S: Final = "kopitra.store."


def _both(target: str, nth: int = 1) -> tuple[Point, Point]:
    return Point(target, "before", nth), Point(target, "after", nth)


#: the start and the lease
START: Final = (
    *_both(_S + "lease:Lease.take"),
    *_both(_S + "journal:JournalWriter.open"),
    *_both(_E + "machine:doubt_unresolved"),
    *_both(_E + "sessions:Sessions._open", 2),
    *_both(_E + "machine:Machine.open"),
)
#: the way of a signal
SIGNAL: Final = (
    *_both(_E + "intake:Intake.accept", 2),
    *_both(_E + "log:Log.decide", 2),
    *_both(_S + "journal:JournalWriter._send", 3),
    *_both(_S + "journal:JournalWriter._durable", 3),
    *_both(_E + "intake:Intake._committed", 2),
    *_both(_E + "fanout:Fanout.prepare", 2),
    *_both(_E + "fanout:Fanout.dispatch", 2),
    *_both(_E + "fanout:Fanout._write", 1),
    *_both(_E + "fanout:Fanout._write", 2),
    *_both(_E + "fanout:Fanout._write", 4),
)
#: reports and what follows
REPORT: Final = (
    *_both(_E + "reports:Reports._report", 2),
    *_both(_E + "reports:Reports._report", 9),
    *_both(_E + "reports:Reports.follow", 1),
    *_both(_E + "reports:Reports.follow", 3),
    *_both(_E + "log:Log._write_facts", 6),
    *_both(_E + "reconcile:Reconciler.look", 3),
)
#: cancels, moves, switches, flatten, and what runs beside
BESIDE: Final = (
    *_both(_E + "requests:Requests._cancel", 1),
    *_both(_E + "requests:Requests._replace", 1),
    *_both(_E + "control:Control._throw", 1),
    *_both(_S + "postgres_shelf:PostgresShelf.set_switch", 1),
    *_both(_E + "flatten:Flattener.start", 1),
    *_both(_E + "flatten:Flattener._cancel", 1),
    *_both(_E + "flatten:Flattener._close", 1),
    *_both(_E + "projector:Projector._apply", 1),
)
POINTS: Final = (*START, *SIGNAL, *REPORT, *BESIDE)
