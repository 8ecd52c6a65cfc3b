"""The tap as the bench sees it: give it a load, get a reading. The program is bench/wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.rig import BenchError, Process, build_tap

REPLY_SLACK_S = 10.0


class Ready(msgspec.Struct, frozen=True):
    """The tap's first line."""

    raw_port: int
    face_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """How signals are sent. Closed loop by default: the next one `gap_us` after a batch is complete."""

    n: int
    count: int
    warmup: int
    gap_us: float = 2000.0
    inflight: int = 1  #: above 1: that many signals wait for their 202 at any time (saturation)
    rate_per_s: float = 0.0  #: above 0: open loop, signals are due by the clock whatever came before
    delay_ms: float = 0.0  #: the broker's answer leaves this long after its order came
    stalled: tuple[int, ...] = ()  #: accounts whose orders are not counted and never answered
    batch_deadline_ms: float = 5000.0
    deadline_s: float = 60.0


class Reading(msgspec.Struct, frozen=True):
    """One run as stamped on the wire, in microseconds; warm-up signals are counted but not timed."""

    n: int
    signals: int
    orders: int
    missing: int
    late: int
    extra: int
    stalled_orders: int
    unanswered: int
    errors: int
    first_error: str
    order_bytes: float
    span_s: float
    signals_per_s: float
    ack_p50: float = 0.0
    ack_p90: float = 0.0
    ack_p99: float = 0.0
    ack_max: float = 0.0
    first_p50: float = 0.0
    first_p90: float = 0.0
    first_p99: float = 0.0
    first_max: float = 0.0
    last_p50: float = 0.0
    last_p90: float = 0.0
    last_p99: float = 0.0
    last_max: float = 0.0

    def complaint(self) -> str | None:
        """Why this run proves nothing, or None: latency without completeness is worthless."""
        if self.errors or self.unanswered:
            return f"{self.errors} bad and {self.unanswered} absent answers; first: {self.first_error}"
        if self.missing or self.extra:
            return f"{self.missing} orders missing, {self.extra} too many; {self.first_error}"
        return None


@dataclass(frozen=True, slots=True)
class Face:
    """A broker as the gateway finds it at the tap: its order wire, and the simulator for all the rest."""

    card: Path  #: brokers/<code>/order.wire
    upstream_port: int = 0  #: the simulator on loopback; 0: none, and what is no order is answered 502


class Tap:
    """A running tap: one port per face, in the order given, and a raw one where floors write."""

    def __init__(self, faces: Sequence[Face] = (), *, pass_through: bool = False, name: str = "tap") -> None:
        argv = [str(build_tap())]
        for face in faces:
            argv += ["--face", f"{face.card},{face.upstream_port}"]
        self._process = Process(name, [*argv, *(["--pass"] if pass_through else [])])
        ready = msgspec.convert(self._process.ready, Ready)
        self.pid = self._process.pid
        self.raw_port = ready.raw_port
        self.face_ports = ready.face_ports

    def run(self, target_port: int, templates: Sequence[Path], load: Load, first_id: int) -> Reading:
        self._process.tell(run_line(target_port, templates, load, first_id))
        line = self._process.receive_line(load.deadline_s + REPLY_SLACK_S)
        try:
            return msgspec.json.decode(line, type=Reading)
        except msgspec.MsgspecError as fault:
            raise BenchError(f"the tap refused the run: {line.decode(errors='replace')}") from fault

    def stop(self) -> None:
        self._process.stop()


def run_line(target_port: int, templates: Sequence[Path], load: Load, first_id: int) -> str:
    """The control line the tap reads. Counted orders per signal are those of accounts not stalled."""
    words = [
        f"target={target_port}",
        f"n={load.n - len(load.stalled)}",
        f"count={load.count}",
        f"warmup={load.warmup}",
        f"inflight={load.inflight}",
        f"gap_us={load.gap_us}",
        f"rate={load.rate_per_s}",
        f"delay_ms={load.delay_ms}",
        f"batch_deadline_ms={load.batch_deadline_ms}",
        f"deadline_s={load.deadline_s}",
        f"first_id={first_id}",
        *(f"template={path}" for path in templates),
    ]
    if load.stalled:
        words.append("stall=" + ",".join(map(str, load.stalled)))
    return " ".join(["run", *words])
