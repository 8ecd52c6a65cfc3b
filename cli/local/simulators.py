"""Simulators in processes of their own: `python -m cli.local.simulators` is one broker.

Its standard input tells it what to be (one line of JSON); it lives until that input ends or SIGTERM comes.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from brokers import registry
from cli.local.process import Child, spawn
from kopitra.ports import SimAccount

MODULE: Final = "cli.local.simulators"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class SimSpec:
    """One simulator: its broker, address (port 0: any), seed, and login -> accounts."""

    broker: str
    logins: Mapping[str, tuple[SimAccount, ...]]
    port: int = 0
    seed: int = 1
    host: str = HOST


@dataclass(frozen=True, slots=True)
class SimLogin:
    """How a session logs in at the simulator: the made-up secrets are the simulator's own."""

    settings: Mapping[str, str]
    credentials: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SimReady:
    """What a simulator says once it listens."""

    broker: str
    control_url: str
    logins: Mapping[str, SimLogin]


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator."""

    child: Child
    told: SimReady


async def start_simulator(spec: SimSpec, log: Path | None = None) -> Simulator:
    """Start one in a process of its own. Raises Stop when it does not come up."""
    child = await spawn(f"{spec.broker} simulator", MODULE, log=log)
    try:
        child.tell(msgspec.json.encode(spec) + b"\n")
        said = await child.ready()
        return Simulator(child, msgspec.convert(said, SimReady))
    except BaseException:
        await child.stop()
        raise


async def _serve(spec: SimSpec) -> None:
    """The process: serve until the input ends or somebody says stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    running = await registry()[spec.broker].start_simulator(
        host=spec.host, port=spec.port, logins=spec.logins, seed=spec.seed
    )
    logins = {name: SimLogin(*running.login(name)) for name in spec.logins}
    sys.stdout.write(msgspec.json.encode(SimReady(spec.broker, running.control_url, logins)).decode() + "\n")
    sys.stdout.flush()
    loop.add_reader(sys.stdin.fileno(), lambda: _input(stopped))
    await stopped.wait()
    loop.remove_reader(sys.stdin.fileno())
    await running.stop()


def _input(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stopped.set()


def main() -> int:
    """Exit code 3: the address is taken, or the accounts make no sense."""
    line = sys.stdin.buffer.readline()
    spec = msgspec.json.decode(line, type=SimSpec)
    try:
        asyncio.run(_serve(spec))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{spec.broker} simulator on {spec.host}:{spec.port}: {error}\n")
        return 3
    return 0


def some_accounts(count: int, balance: Decimal) -> Sequence[SimAccount]:
    """Plain accounts SIM-1, SIM-2, ..."""
    return tuple(SimAccount(f"SIM-{number}", balance, {}) for number in range(1, count + 1))


if __name__ == "__main__":
    sys.exit(main())
