"""Starting, reading and stopping the processes that are measured."""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from cli.local.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".kopitra" / "build"
LOGS = ROOT / ".kopitra" / "bench"

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LOG_TAIL_CHARS = 800
LINE_BYTES_MAX = 1 << 20
#: Several gateways with their pools run side by side.
CONNECTIONS = "200"

Fields = dict[str, object]


class BenchError(Exception):
    """A process did not start, did not answer, or answered nonsense. The message names its log."""


def build_tap() -> Path:
    """Compile bench/wire into .kopitra/build/tap unless the binary is newer than every source."""
    sources = sorted((ROOT / "bench" / "wire").glob("*.[ch]"))
    target = BUILD / "tap"
    if target.exists() and target.stat().st_mtime >= max(s.stat().st_mtime for s in sources):
        return target
    BUILD.mkdir(parents=True, exist_ok=True)
    fresh = BUILD / f"tap.{os.getpid()}"
    code = [str(s) for s in sources if s.suffix == ".c"]
    done = subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(fresh), *code, "-lm"], check=False)
    if done.returncode:
        raise BenchError("gcc could not compile bench/wire; install gcc and libc headers, then run again")
    return fresh.replace(target)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used up to now."""

    cpu_us: float
    rss_bytes: int


def usage(pid: int) -> Usage:
    """CPU time of all live threads (nanosecond counters, not 10 ms ticks) and resident memory."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    nanoseconds = sum(int((t / "schedstat").read_text().split()[0]) for t in tasks)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(cpu_us=nanoseconds / 1e3, rss_bytes=pages * PAGE_BYTES)


def reset_peak(pid: int) -> None:
    """From now on `peak_bytes` tells the highest memory since now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """Highest resident memory since the start or the last `reset_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


class Process:
    """A child whose stdout speaks in lines of JSON; the first one says that it is ready."""

    def __init__(
        self, name: str, argv: Sequence[str], env: dict[str, str] | None = None, *, first: str | None = None
    ) -> None:
        """`first`: a line that the child wants to read before it gets ready."""
        LOGS.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = LOGS / f"{name}.log"
        self._rest = b""
        begun = time.monotonic()
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )
        self.pid = self._child.pid
        if first is not None:
            self.tell(first)
        try:
            self.ready = self.receive(START_TIMEOUT_S)
        except BenchError:
            self.stop()
            raise
        self.ready_after_s = time.monotonic() - begun

    def port(self, key: str = "port") -> int:
        value = self.ready.get(key)
        if not isinstance(value, int):
            raise BenchError(f"{self.name} named no {key} when it became ready")
        return value

    def tell(self, line: str) -> None:
        stdin = cast(IO[bytes], self._child.stdin)
        stdin.write(line.encode() + b"\n")
        stdin.flush()

    def receive(self, timeout_s: float) -> Fields:
        value: object = json.loads(self.receive_line(timeout_s))
        if not isinstance(value, dict):
            raise BenchError(f"{self.name} wrote a line that is no JSON object; see {self.log}")
        return cast(Fields, value)

    def receive_line(self, timeout_s: float) -> bytes:
        stdout = cast(IO[bytes], self._child.stdout)
        until = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left = max(0.0, until - time.monotonic())
            if not select.select([stdout], [], [], left)[0]:
                raise BenchError(f"{self.name} said nothing for {timeout_s:.0f} s; see {self.log}")
            chunk = os.read(stdout.fileno(), LINE_BYTES_MAX)
            if not chunk:
                tail = self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
                raise BenchError(f"{self.name} ended before it answered; end of {self.log}:\n{tail}")
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def check_alive(self) -> None:
        """Raises BenchError when it has ended by itself."""
        if self._child.poll() is not None:
            raise BenchError(f"{self.name} ended by itself; see {self.log}")

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for who does not listen; safe to call twice."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def postgres() -> Generator[str]:
    """The product's own embedded server, as durable as always, in a folder of its own; yields the DSN."""
    with tempfile.TemporaryDirectory(prefix="kopitra-bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder), {"max_connections": CONNECTIONS})
        try:
            yield server.start()
        finally:
            server.stop()


def new_database(dsn: str, name: str) -> str:
    """An empty database beside the one `dsn` names."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SQL("create database {}").format(Identifier(name)))
        return make_conninfo(dsn, dbname=name)
