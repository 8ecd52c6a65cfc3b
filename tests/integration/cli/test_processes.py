"""Processes of the command line: ready when they say so, refused in words, gone when we are."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import httpx2
import psutil
import pytest

from brokers import registry
from cli.local.process import spawn
from cli.local.simulators import SimSpec, some_accounts, start_simulator
from cli.rim import Stop

ROOT = Path(__file__).parents[3]
#: seconds for a process to end
PATIENCE_S = 30


def spec(broker: str, port: int = 0) -> SimSpec:
    return SimSpec(broker, {"trader": tuple(some_accounts(2, Decimal(50_000)))}, port)


@pytest.mark.parametrize("broker", registry())
async def test_a_simulator_serves_its_control_api_until_it_is_stopped(broker: str) -> None:
    sim = await start_simulator(spec(broker))
    try:
        async with httpx2.AsyncClient(base_url=sim.told.control_url, trust_env=False) as http:
            accounts = (await http.get("/_sim/accounts")).json()
        assert [account["spec"]["name"] for account in accounts] == ["SIM-1", "SIM-2"]
        assert sim.told.logins["trader"].credentials
    finally:
        await sim.child.stop()
    assert not psutil.pid_exists(sim.child.pid)


async def test_a_simulator_ends_when_who_started_it_is_gone(tmp_path: Path) -> None:
    sim = await start_simulator(spec(next(iter(registry()))))
    try:
        sim.child.hang_up()
        assert await asyncio.wait_for(sim.child.wait(), PATIENCE_S) == 0
    finally:
        await sim.child.stop()


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Stop, match=f"127.0.0.1:{port}"):
            await start_simulator(spec(next(iter(registry())), port), tmp_path / "log")


async def test_a_process_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    child = await spawn("nonsense", "cli.no_such_module", log=tmp_path / "log")
    with pytest.raises(Stop, match="No module named"):
        await child.ready()


def test_simulators_end_with_the_command_that_started_them() -> None:
    command = [sys.executable, "-m", "cli.main", "sim", "up", "--json", "--accounts", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        told = json.loads(up.stdout.readline())
        children = [child.pid for child in psutil.Process(up.pid).children()]
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 0
    assert {row["broker"] for row in told} == set(registry())
    assert len(children) == len(registry())
    assert not any(psutil.pid_exists(child) for child in children)
