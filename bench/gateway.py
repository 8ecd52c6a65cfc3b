"""The product as subject: the gateway process with its database, or the same engine without a store."""

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.bare import Bare
from bench.fleet import Fleet, furnish, launch
from bench.rig import Process
from bench.subjects import Running


@dataclass(frozen=True, slots=True)
class Gateway:
    """`pass_through`: the simulators match and fill every order, instead of the tap answering it."""

    pass_through: bool = False
    name: str = "gateway"

    def start(self, n: int, *, dsn: str | None) -> Running:
        name = f"{self.name}-{'store' if dsn else 'bare'}-{n}"
        fleet = launch(n, name, pass_through=self.pass_through)
        folder = Path(tempfile.mkdtemp(prefix="kopitra-bench-"))
        try:
            process = self._stored(name, fleet, dsn, folder) if dsn else self._bare(name, fleet)
        except BaseException:
            fleet.stop()
            raise

        def stop() -> None:
            process.stop()
            fleet.stop()
            shutil.rmtree(folder, ignore_errors=True)

        return Running(
            name, process.pid, process.port(), fleet.tap, stop, process.ready_after_s, accounts=fleet.numbers
        )

    def _stored(self, name: str, fleet: Fleet, dsn: str, folder: Path) -> Process:
        asyncio.run(furnish(dsn, fleet, folder / "master.key"))
        environment = {
            "DATABASE_URL": dsn,
            "KOPITRA_DATA_DIR": str(folder),
            "KOPITRA_PORT": "0",
            "KOPITRA_LOG_LEVEL": "WARNING",
        }
        return Process(name, [sys.executable, "-m", "gateway_container"], environment)

    def _bare(self, name: str, fleet: Fleet) -> Process:
        first = msgspec.json.encode(Bare(fleet.logins)).decode()
        return Process(name, [sys.executable, "-m", "bench.bare"], first=first)
