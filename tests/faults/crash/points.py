"""The labelled points at which gateway processes die (T-23): before or after the n-th call of one function.

The product knows nothing of them: the armed process (`armed.py`) wraps the function before it starts. A `Death` names
one point, or several: then the successor of the first dies too, while it recovers.
"""

from dataclasses import dataclass
from typing import Final, Literal

When = Literal["before", "after"]
#: what happens around the death: an EA's morning; a loss limit whose mark rises; a person who closes by hand and a
#: repair; a database that is away; a standby beside the holder, which dies, or the holder does
Scene = Literal["plain", "marked", "drift", "dark", "standby", "holder"]


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


@dataclass(frozen=True, slots=True)
class Death:
    """Where the first process dies, and where its successor does, if that one is to die as well."""

    scene: Scene
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """Its name on the command line."""
        return f"{self.scene}/{'>'.join(point.label for point in self.points)}"


_E: Final = "gateway_container.engine."
_G: Final = "gateway_container."
_S: Final = "kopitra.store."
#: in the middle of a fan-out: one order is written, its neighbour is not
_HALF_SENT: Final = Point(_E + "fanout:Fanout._write", "after", 1)


def _both(scene: Scene, target: str, nth: int = 1) -> tuple[Death, Death]:
    return Death(scene, (Point(target, "before", nth),)), Death(scene, (Point(target, "after", nth),))


def _again(target: str, nth: int = 1) -> tuple[Death, Death]:
    """The successor of a process that died in the middle of a fan-out."""
    before, after = Point(target, "before", nth), Point(target, "after", nth)
    return Death("plain", (_HALF_SENT, before)), Death("plain", (_HALF_SENT, after))


#: the start and the lease
START: Final = (
    *_both("plain", _S + "lease:Lease.take"),
    *_both("plain", _S + "journal:JournalWriter.open"),
    *_both("plain", _E + "sessions:Sessions._open", 2),
    *_both("plain", _E + "machine:Machine.open"),
)
#: the start of a successor that has something to recover
RECOVERY: Final = (
    *_again(_S + "lease:Lease.take"),
    *_again(_E + "machine:doubt_unresolved"),
    *_again(_E + "sessions:Sessions._open", 2),
    *_again(_E + "reconcile:Reconciler.look"),
    *_again(_E + "lookup:Lookup._read"),
    *_again(_E + "machine:Machine.open"),
)
#: the way of a signal
SIGNAL: Final = (
    *_both("plain", _E + "intake:Intake.accept", 2),
    *_both("plain", _E + "log:Log.decide", 2),
    *_both("plain", _S + "journal:JournalWriter._send", 9),
    *_both("plain", _S + "journal:JournalWriter._durable", 9),
    *_both("plain", _E + "intake:Intake._committed", 2),
    *_both("plain", _E + "fanout:Fanout.prepare", 2),
    *_both("plain", _E + "fanout:Fanout.dispatch", 2),
    *_both("plain", _E + "fanout:Fanout._write", 1),
    *_both("plain", _E + "fanout:Fanout._write", 2),
    *_both("plain", _E + "fanout:Fanout._write", 4),
)
#: reports and what follows
REPORT: Final = (
    *_both("plain", _E + "reports:Reports._report", 2),
    *_both("plain", _E + "reports:Reports._report", 9),
    *_both("plain", _E + "reports:Reports.follow", 1),
    *_both("plain", _E + "reports:Reports.follow", 3),
    *_both("plain", _E + "log:Log._write_facts", 6),
    *_both("plain", _E + "reconcile:Reconciler.look", 1),
)
#: cancels, moves, switches, flatten, and what runs beside
BESIDE: Final = (
    *_both("plain", _E + "requests:Requests._cancel", 1),
    *_both("plain", _E + "requests:Requests._replace", 1),
    *_both("plain", _E + "control:Control._throw", 1),
    *_both("plain", _S + "postgres_shelf:PostgresShelf.set_switch", 1),
    *_both("plain", _E + "flatten:Flattener.start", 1),
    *_both("plain", _E + "flatten_run:Closing._ask_cancels", 1),
    *_both("plain", _E + "flatten_run:Closing._close", 1),
    *_both("plain", _E + "projector:Projector._apply", 1),
    *_both("plain", _E + "snapshots:Snapshots.save", 1),
    *_both("plain", _G + "snapshot_process:SnapshotProcess._hear", 1),
)
#: high-water marks
LIMITS: Final = (
    *_both("marked", _E + "equity:Equity._measure", 3),
    *_both("marked", _E + "log:Log._write_facts", 4),
)
#: repairs of drift
REPAIR: Final = (
    *_both("drift", _E + "repairs:Repairs.apply", 1),
    *_both("drift", _E + "repairs:Repairs._send", 1),
    Death("drift", (Point(_E + "fanout:Fanout._write", "after", 3),)),
)
#: the local exit file: written, made durable, taken into the journal by its writer or by a successor
EXITS: Final = (
    *_both("dark", _E + "exit_file:ExitLog.put", 1),
    *_both("dark", _G + "exit_writer:_append", 1),
    *_both("dark", _E + "exit_file:ExitLog.bring", 2),
    *_both("dark", _G + "exit_writer:_clear", 2),
    Death(
        "dark",
        (Point(_G + "exit_writer:_append", "after", 1), Point(_E + "exit_file:ExitLog.load", "after", 1)),
    ),
    Death(
        "dark",
        (Point(_G + "exit_writer:_append", "after", 1), Point(_E + "exit_file:ExitLog.bring", "after", 1)),
    ),
)
#: two replicas: the inbox between them, and the take-over
PAIR: Final = (
    *_both("standby", _G + "standby_doors:put", 1),
    *_both("standby", _G + "standby:Standby.surrender", 1),
    *_both("standby", _G + "replica:Replica._take", 2),
    *_both("standby", _G + "replica:Replica._rise", 1),
    *_both("holder", _G + "inbox_pump:Pump._take", 1),
    *_both("holder", _G + "inbox_pump:settle", 1),
    *_both("holder", _E + "machine:Machine.stop", 1),
)
STAGES: Final = (
    *START, *RECOVERY, *SIGNAL, *REPORT, *BESIDE, *LIMITS, *REPAIR, *EXITS, *PAIR,
)  # fmt: skip
DEATHS: Final = {death.label: death for death in STAGES}
#: one of each stage, for every pull request
FEW: Final = (
    START[1],  # the lease is taken, nothing else is there
    RECOVERY[2],  # the successor dies before it doubts what its predecessor left
    SIGNAL[4],  # before the batch is sent to the database
    SIGNAL[7],  # durable, and nobody was told
    SIGNAL[15],  # between the orders of one fan-out
    REPORT[0],  # sent, and the report is not durable
    BESIDE[19],  # a snapshot of the book is saved by its process, and nobody was told
    LIMITS[1],
    REPAIR[3],
    EXITS[3],  # an exit is in the file, the journal does not know it
    PAIR[1],  # a signal is in the inbox, its sender was told nothing
    PAIR[3],  # a standby is about to take over
)
