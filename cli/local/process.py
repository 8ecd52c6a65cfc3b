"""Child processes of the command line: started by this interpreter, ready when they say so, ended by id.

A child gets a session of its own, so that Ctrl-C reaches only us and we end the children in the right order.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from cli.rim import Stop

#: seconds until a child must be ready
READY_TIMEOUT_S: Final = 30.0
#: seconds from SIGTERM to SIGKILL
STOP_TIMEOUT_S: Final = 12.0
#: bytes of a line that a child may print
LINE_BYTES_MAX: Final = 1_048_576
#: characters of a log that an error shows
_TAIL_LENGTH: Final = 2_000


class Child:
    """One child process. `log` receives its standard error; None lets it through to ours."""

    def __init__(self, name: str, process: Process, log: Path | None) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self._process.returncode is None

    async def ready(self, timeout_s: float = READY_TIMEOUT_S) -> dict[str, object]:
        """The JSON object on its first line. Raises Stop with the end of its log when none comes."""
        if self._process.stdout is None:
            raise Stop(f"The {self.name} was started without a pipe: that is a defect.")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise Stop(f"The {self.name} is not ready after {timeout_s:.0f} s.\n{self._tail()}") from None
        try:
            said = cast("object", json.loads(line))
        except json.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            await self.wait()
            raise Stop(f"The {self.name} did not start.\n{self._tail()}")
        return cast("dict[str, object]", said)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not listen. May be called twice."""
        if not self.running:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def tell(self, line: bytes) -> None:
        """Write to its standard input, which stays open: its end tells the child that we are gone."""
        if self._process.stdin is not None:
            self._process.stdin.write(line)

    def hang_up(self) -> None:
        """End its standard input, as our own end would."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _tail(self) -> str:
        if self._log is None or not self._log.exists():
            return ""
        return self._log.read_text(errors="replace")[-_TAIL_LENGTH:].strip()


async def spawn(
    name: str, module: str, *, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Child:
    """Start `python -m module` in the background."""
    return await spawn_command(name, [sys.executable, "-m", module], environment=environment, log=log)


async def spawn_command(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Child:
    """Start a program in the background."""
    if log is None:
        errors = None
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
    finally:
        if errors is not None:
            os.close(errors)
    return Child(name, process, log)
