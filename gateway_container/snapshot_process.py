"""Snapshots of the book, each made by a short process of its own (`snapshot.py`): its memory goes when it ends, and no
turn of our loop is spent on it.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from gateway_container.snapshot import LIMIT_S
from kopitra.domain.errors import Unavailable
from kopitra.settings import Settings

COMMAND: Final = (sys.executable, "-m", "gateway_container.snapshot")
#: bytes that are kept of what it says: the last ones. A logged value is not cut at so many
SAID_BYTES_MAX: Final = 1_500
#: seconds until a process that is still there is killed again
AGAIN_S: Final = 0.2

_log = structlog.get_logger("kopitra.snapshots")


class _End(NamedTuple):
    """The exit code, and the end of standard output and standard error."""

    code: int
    said: str
    complained: str


def environment_of(settings: Settings, dsn: str) -> dict[str, str]:
    """What the process reads, wherever our own settings came from. It holds a password, so it is no argument."""
    return {
        "DATABASE_URL": dsn,
        "KOPITRA_SHARD": settings.shard,
        "KOPITRA_LOG_LEVEL": settings.log_level,
    }


class SnapshotProcess:
    """`make` starts the process and waits for its end; there is one at a time."""

    def __init__(
        self, environment: Mapping[str, str], command: Sequence[str] = COMMAND, limit_s: float = LIMIT_S
    ) -> None:
        self._environment = environment
        self._command = command
        self._limit_s = limit_s
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that is at work."""
        return self._process.pid if self._process is not None else None

    async def make(self) -> int:
        """A new snapshot: the number of its last row. No process is left, however this ends. Raises Unavailable."""
        async with self._turn:
            return _seq_of(await self._ended())

    async def _ended(self) -> _End:
        life = asyncio.get_running_loop().create_task(self._live(), name="snapshot process")
        try:
            async with asyncio.timeout(self._limit_s):
                return await asyncio.shield(life)
        except TimeoutError:
            text = (
                f"The snapshot's process was not done after {self._limit_s:g} s and was killed: give the container "
                "more CPU if this repeats. The next look tries again."
            )
            raise Unavailable(text) from None
        except OSError as error:
            text = (
                f"The snapshot's process did not start: {error}. Give the container more memory or processes. "
                "The next look tries again."
            )
            raise Unavailable(text) from error
        finally:
            await self._gone(life)

    async def _live(self) -> _End:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env={**os.environ, **self._environment}
        )
        try:
            return await self._hear(process)
        finally:
            self._process = None
            if process.returncode is None:  # the loop itself ends, or a pipe broke
                process.kill()
                await process.wait()

    async def _hear(self, process: Process) -> _End:
        """Until it has ended."""
        said, complained = await asyncio.gather(_tail(process.stdout), _tail(process.stderr))
        return _End(await process.wait(), said, complained)

    async def _gone(self, life: asyncio.Task[_End]) -> None:
        """Killed and reaped, in spite of those who cancel us meanwhile."""
        while not life.done():
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([life], timeout=AGAIN_S)


def _seq_of(end: _End) -> int:
    if end.code == 0 and end.said.isdecimal():
        if end.complained:
            _log.warning("snapshot_process_said", text=end.complained)
        return int(end.said)
    raise Unavailable(
        f"The snapshot's process ended with code {end.code}. The next look tries again. It said: {end.complained}"
    )


async def _tail(stream: asyncio.StreamReader | None) -> str:
    kept = b""
    while stream is not None and (part := await stream.read(SAID_BYTES_MAX)):
        kept = (kept + part)[-SAID_BYTES_MAX:]
    return kept.decode(errors="replace").strip()
