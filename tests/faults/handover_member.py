"""T-24: one replica of a hand-over campaign."""

import asyncio
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from tests.faults.handover_fleet import Gateway
from tests.integration.faulty_line import FaultyLine

#: seconds for a process to come up, to end, or to send again, on a loaded machine
PROCESS_S: Final = 60.0


@dataclass(slots=True)
class Member:
    """One replica, in this process or as its own."""

    name: str
    door: tuple[httpx2.AsyncClient, str]
    stack: AsyncExitStack
    gateway: Gateway | None = None
    line: FaultyLine | None = None
    process: Process | None = None
    stop_file: Path | None = None

    @property
    def code(self) -> int | None:
        """Its exit code, None while it lives."""
        if self.process is not None:
            return self.process.returncode
        done = self.gateway is not None and self.gateway.life.done()
        return self.gateway.life.result() if self.gateway is not None and done else None

    async def gone(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        if self.process is not None:
            return await asyncio.wait_for(self.process.wait(), PROCESS_S)
        assert self.gateway is not None
        return await asyncio.wait_for(asyncio.shield(self.gateway.life), PROCESS_S)
