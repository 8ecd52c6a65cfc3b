"""The gateway's process, as a laptop runs it."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cli.local.process import Child, spawn
from cli.rim import progress, say
from kopitra.settings import Settings

MODULE = "gateway_container"


def environment_of(settings: Settings, dsn: str, host: str | None, port: int | None) -> dict[str, str]:
    """What the gateway's process reads: our settings, wherever they came from, and the database's address."""
    return {
        "DATABASE_URL": dsn,
        "KOPITRA_DATA_DIR": str(settings.data_dir.absolute()),
        "KOPITRA_KEY_FILE": str(settings.key_path.absolute()),
        "KOPITRA_HOST": settings.host if host is None else host,
        "KOPITRA_PORT": str(settings.port if port is None else port),
    }


async def start_gateway(environment: Mapping[str, str], log: Path | None) -> tuple[Child, str]:
    """Start it and wait until it takes signals: (process, base URL). Raises Stop with the end of its log."""
    child = await spawn("gateway", MODULE, environment=environment, log=log)
    try:
        said = await child.ready()
    except BaseException:
        await child.stop()
        raise
    host = str(said.get("host", environment["KOPITRA_HOST"]))
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not listened on
    return child, f"http://{f'[{host}]' if ':' in host else host}:{said['port']}"


async def run_gateway(environment: Mapping[str, str]) -> int:
    """Run it in the foreground until it ends or we are told to stop: its exit code."""
    with progress("starting the gateway"):
        child, url = await start_gateway(environment, None)
    say(f"gateway at {url}: {url}/openapi.json, {url}/metrics, {url}/trade-agent/v1/health; Ctrl-C stops it")
    stopped = stop_signal()
    ended = asyncio.ensure_future(child.wait())
    asked = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if ended.done():
        return ended.result()
    with progress("stopping the gateway"):
        await child.stop()
    return await ended


def stop_signal() -> asyncio.Event:
    """Set by Ctrl-C and by SIGTERM."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, NotImplementedError):
            loop.add_signal_handler(number, asked.set)
    return asked
