"""A desk under load: fleet, database, and gateways that are started, stopped and killed one by one."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict

from bench.fleet import Fleet, add_key, add_leader, furnish, launch, tuning_of
from bench.lab import Lab
from bench.rig import BenchError, Process, Usage, usage
from kopitra.store.pool import Database

LOOK_S = 0.05
QUIET_TIMEOUT_S = 60.0
#: of the projection; only these are over
OVER = ("filled", "canceled", "expired", "rejected", "not_placed", "skipped")


@dataclass(frozen=True, slots=True)
class Site:
    """One fleet with its database."""

    name: str
    dsn: str
    fleet: Fleet
    folder: Path
    stack: ExitStack

    def gateway(self, tag: str = "a") -> Process:
        """One more gateway process on this database; it is stopped with the site."""
        home = self.folder / tag
        home.mkdir(exist_ok=True)
        environment = {
            "DATABASE_URL": self.dsn,
            "KOPITRA_DATA_DIR": str(home),
            "KOPITRA_KEY_FILE": str(self.folder / "master.key"),
            "KOPITRA_PORT": "0",
            "KOPITRA_LOG_LEVEL": "ERROR",
        }
        process = Process(f"{self.name}-{tag}", [sys.executable, "-m", "gateway_container"], environment)
        self.stack.callback(process.stop)
        return process

    def invite(self, leader: str, keys: Mapping[str, str], followers: Sequence[str] = ()) -> None:
        """A further leader with its followers; key id -> account of its EAs."""

        async def write() -> None:
            async with Database(self.dsn, "bench") as db:
                await add_leader(db, leader, followers)
                for key_id, account in keys.items():
                    await add_key(db, key_id, leader, account)

        asyncio.run(write())

    def control(self, command: str, **arguments: object) -> None:
        """Tell every simulator."""
        for root in self.fleet.controls.values():
            httpx2.post(f"{root}/{command}", json=arguments, trust_env=False).raise_for_status()

    def logins(self) -> int:
        """How often sessions have logged in at the simulators so far."""
        total = 0
        for broker, root in self.fleet.controls.items():
            asked = httpx2.get(f"{root}/requests", trust_env=False).raise_for_status().json()
            ends = tuning_of(broker).logins
            total += sum(count for path, count in asked.items() if path.endswith(ends))
        return total

    def count(self, sql: str, *values: object) -> int:
        """The one number that this query gives."""
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(sql.encode(), values).fetchone()
            return int(row[0]) if row is not None else 0

    def quiet(self, timeout_s: float = QUIET_TIMEOUT_S) -> bool:
        """Wait until every journal row is projected and every order is over; False when that takes too long."""
        return wait_for(lambda: self.projected() and not self.unfinished(), timeout_s)

    def projected(self) -> bool:
        """The tables that queries read show every row of the journal."""
        return not self.count(_BEHIND)

    def unfinished(self) -> int:
        """Orders that are neither over nor known to be in doubt."""
        return self.count(_UNFINISHED, list(OVER))

    def live(self, gateway: Process) -> bool:
        """This process holds the shard, and every session is up."""
        sessions = scrape(gateway.port(), "kopitra_sessions")
        up = sum(value for labels, value in sessions.items() if dict(labels).get("state") == "live")
        return up == len(self.fleet.logins)

    def used(self, gateway: Process) -> dict[str, Usage]:
        """What each part has used up to now."""
        sims = [usage(pid) for pid in self.fleet.simulators]
        return {
            "gateway": usage(gateway.pid),
            "PostgreSQL": _sum([usage(pid) for pid in self._postgres()]),
            "tap": usage(self.fleet.tap.pid),
            "simulators": _sum(sims),
        }

    def _postgres(self) -> list[int]:
        data = Path(str(conninfo_to_dict(self.dsn)["host"])).parent / "pgdata"
        server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return [server.pid, *(child.pid for child in server.children())]


_BEHIND = """
    select coalesce((select max(seq) from journal), 0) - coalesce((select max(seq) from projection_heads), 0)"""
_UNFINISHED = """
    select count(*) from orders where ord_status <> all(%s) and ord_status not in ('in_doubt', 'parked')"""


def open_site(
    lab: Lab, stack: ExitStack, name: str, n: int, *, pass_through: bool = False, tuned: bool = True
) -> Site:
    """A fleet of n followers and its furnished database; everything ends with the stack."""
    fleet = launch(n, name, pass_through=pass_through, tuned=tuned)
    stack.callback(fleet.stop)
    folder = Path(tempfile.mkdtemp(prefix="kopitra-bench-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    dsn = lab.database()
    asyncio.run(furnish(dsn, fleet, folder / "master.key"))
    return Site(name, dsn, fleet, folder, stack)


def wait_for(condition: Callable[[], object], timeout_s: float) -> bool:
    """Look again and again; False when it did not come true in time."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_S)
    return True


def must(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """`wait_for`, where going on makes no sense. Raises BenchError."""
    if not wait_for(condition, timeout_s):
        raise BenchError(f"waited {timeout_s:.0f} s for {what}; see the logs under .kopitra/bench")


def scrape(port: int, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples called `name` of the gateway's /metrics, by their sorted labels."""
    page = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status().text
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


def _sum(parts: Sequence[Usage]) -> Usage:
    return Usage(sum(p.cpu_us for p in parts), sum(p.rss_bytes for p in parts))
