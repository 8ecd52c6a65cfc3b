"""The process of the moment: armed as long as it has deaths before it, and started again after each."""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

#: seconds for a process to come up on a loaded machine
READY_S: Final = 180.0
#: seconds of a lease, short, but long enough for a machine on which four cases start their processes
LEASE_TTL_S: Final = 6.0
#: exit code of a process that gave its shard up
LEASE_LOST: Final = 3
#: processes that start all the time must not compile everything each time, whatever this one was told
CACHED: Final = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX") or f"{tempfile.gettempdir()}/kopitra-pyc",
}


@dataclass(slots=True)
class Lives:
    """`labels[n]` arms the life behind the n-th death; more deaths than labels are a fault."""

    dsn: str
    folder: Path
    labels: tuple[str, ...]
    settings: Mapping[str, str]
    process: Process | None = None
    base: str = ""
    deaths: int = 0
    log: list[bytes] = field(default_factory=list[bytes])
    _told: bool = False

    @property
    def dead(self) -> bool:
        """It ended, and nobody has started it again."""
        return self.process is not None and self.process.returncode is not None

    async def up(self) -> None:
        """Make sure that a process serves."""
        while self.process is None or self.dead or not self.base:
            if self.process is not None and self.dead:
                await self._bury(self.process)
            self.base = ""
            self.process = await self._spawn()
            assert self.process.stdout is not None
            line = await asyncio.wait_for(self.process.stdout.readline(), READY_S)
            if line:
                said = msgspec.json.decode(line, type=dict[str, object])
                self.base = f"http://{said['host']}:{said['port']}"
            else:
                await self.process.wait()

    async def _spawn(self) -> Process:
        environment = {
            **os.environ, "DATABASE_URL": self.dsn, "KOPITRA_DATA_DIR": str(self.folder), "KOPITRA_PORT": "0",
            "KOPITRA_DRAIN_S": "0.5", "KOPITRA_LOG_LEVEL": "WARNING", "NO_PROXY": "127.0.0.1",
            "KOPITRA_LEASE_TTL_S": str(LEASE_TTL_S), "KOPITRA_EXIT_GRACE_S": "0.5", **CACHED, **self.settings,
        }  # fmt: skip
        command = (
            sys.executable,
            "-m",
            "tests.faults.crash.armed",
            *self.labels[self.deaths : self.deaths + 1],
        )
        self._told = False
        return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)

    async def _bury(self, process: Process) -> None:
        _, log = await process.communicate()
        self.log.append(log)
        if process.returncode == LEASE_LOST or (self._told and process.returncode == 0):
            return  # a machine too busy to renew in time stopped itself, which is right; or it was told to stop
        assert process.returncode == -9, f"exit code {process.returncode}: {log.decode()[-2000:]}"
        assert self.deaths < len(self.labels), f"died once more: {log.decode()[-2000:]}"
        self.deaths += 1

    async def stop(self) -> None:
        """SIGTERM, and its end."""
        if self.process is not None and not self.dead:
            self._told = True
            self.process.terminate()
            await asyncio.wait_for(self._gone(self.process), READY_S)

    async def _gone(self, process: Process) -> None:
        """Its pipes are read meanwhile, so that a talkative end does not wait for us."""
        assert process.stderr is not None
        self.log.append(await process.stderr.read())
        await process.wait()

    async def kill(self) -> None:
        """Whatever still runs."""
        if self.process is not None and not self.dead:
            self.process.kill()
            await self.process.communicate()
