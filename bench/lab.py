"""What the sections share: the subject, its databases, the rounds, and how long all of it may take."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from bench.load.sizes import SIZES, Sizes
from bench.rig import new_database
from bench.rounds import Bench, Case, Series
from bench.subjects import ORDER_BYTES_GUESS, Floor, Running, Subject
from bench.tap import Load


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, with what it is divided by; `void` says why it may not be judged."""

    key: str
    value: float
    floor: float | None = None
    void: str | None = None
    size: str = ""  #: how large the load was, and what else must be known to read the figure


@dataclass(slots=True)
class Lab:
    """One bench run."""

    subject: Subject
    dsn: str
    say: Callable[[str], None]
    rounds: int  #: rounds per group of cases
    again_max: int  #: rounds of one group that may be repeated because their floor was off
    again_until_s: float  #: nothing is repeated after this much of the bench has passed
    sizes: Sizes = SIZES["bench"]
    loads: Sequence[str] = ()  #: parts of the section `load`; none: all
    order_bytes: int = ORDER_BYTES_GUESS
    bench: Bench = field(default_factory=Bench)
    begun: float = field(default_factory=time.monotonic)
    databases: int = 0
    refused: list[str] = field(default_factory=list[str])  #: runs that proved nothing, in words

    def today(self) -> date:
        """The trade date by which contracts are chosen."""
        return datetime.now(UTC).date()

    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun

    def database(self) -> str:
        self.databases += 1
        return new_database(self.dsn, f"bench_{self.databases}")

    def up(self, stack: ExitStack, subject: Subject, n: int, *, store: bool) -> Running:
        """Start it; it is stopped when the stack is left."""
        running = subject.start(n, dsn=self.database() if store else None)
        stack.callback(running.stop)
        self.say(f"  {running.name} is up after {running.started_in_s:.1f} s")
        return running

    def weigh(self, product: Running, n: int) -> None:
        """Make the floors' orders as long as the product's are on the wire; warms the product as well."""
        case = Case("weigh", product, Load(n=n, count=50, warmup=0))
        self.order_bytes = round(self.bench.measure(case).reading.order_bytes)
        self.say(f"  an order is {self.order_bytes} bytes on the wire")

    def floor(self) -> Floor:
        return Floor(order_bytes=self.order_bytes)

    def interleave(self, cases: Sequence[Case]) -> Series:
        series = self.bench.interleave(cases, self.rounds, self._may_repeat)
        if series.discarded:
            self.say(f"  {series.discarded} rounds were measured again because their floor was off")
        for why in series.faults.values():
            self.say(f"  void: {why}")
        return series

    def _may_repeat(self, repeated: int) -> bool:
        return repeated < self.again_max and self.elapsed_s() < self.again_until_s
