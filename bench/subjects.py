"""Who is measured: the product, the floors below it and the comparators beside it, behind one Protocol."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from bench.rig import ROOT, Process
from bench.tap import Tap

TEMPLATES = (ROOT / "bench" / "templates" / "signal.http",)

#: Bytes of one order until the product's own orders have been weighed on the wire.
ORDER_BYTES_GUESS = 330

Comparator = Literal["empty", "aiohttp", "httpx-db"]


@dataclass(frozen=True, slots=True)
class Running:
    """A started subject with the tap that watches it."""

    name: str
    pid: int  #: the process that carries the signals; its CPU and memory are the ones counted
    port: int  #: where it takes signals over HTTP
    tap: Tap
    stop: Callable[[], None]
    started_in_s: float  #: from launch until it could take a signal with all followers live
    templates: tuple[Path, ...] = TEMPLATES
    accounts: tuple[int, ...] = ()  #: the followers' account numbers as they stand in an order on the wire


class Subject(Protocol):
    """Something that takes a signal and writes n orders to the tap."""

    @property
    def name(self) -> str: ...

    def start(self, n: int, *, dsn: str | None) -> Running:
        """With n followers ready to trade. `dsn` is an empty database of its own; None means: without store.

        Returns when it can take signals. Everything it started ends with `Running.stop`.
        """
        ...


def _start(name: str, module: str, args: list[str], dsn: str | None) -> Running:
    tap = Tap(name=f"{name}-tap")
    argv = [sys.executable, "-m", module, *args, "--broker", str(tap.raw_port)]
    try:
        process = Process(name, argv + (["--dsn", dsn] if dsn else []))
    except BaseException:
        tap.stop()
        raise

    def stop() -> None:
        process.stop()
        tap.stop()

    return Running(name, process.pid, process.port(), tap, stop, process.ready_after_s)


@dataclass(frozen=True, slots=True)
class Floor:
    """uvloop and n writes; with a database, one single-row commit before them."""

    order_bytes: int = ORDER_BYTES_GUESS
    name: str = "floor"

    def start(self, n: int, *, dsn: str | None) -> Running:
        name = f"{self.name}-{'durable' if dsn else 'fanout'}-{n}"
        args = ["--n", str(n), "--order-bytes", str(self.order_bytes)]
        started = _start(name, "bench.floors", args, dsn)
        return replace(started, accounts=tuple(range(1, n + 1)))


@dataclass(frozen=True, slots=True)
class Compared:
    """One of bench/comparators.py."""

    kind: Comparator

    @property
    def name(self) -> str:
        return self.kind

    def start(self, n: int, *, dsn: str | None) -> Running:
        return _start(f"{self.kind}-{n}", "bench.comparators", [self.kind, "--n", str(n)], dsn)


def subjects() -> dict[str, Subject]:
    """What `--subject` may name; the first is the default. The floor as subject must give ratios near 1."""
    from bench.gateway import Gateway  # it needs what stands above

    return {"gateway": Gateway(), "matched": Gateway(pass_through=True), "floor": Floor()}
