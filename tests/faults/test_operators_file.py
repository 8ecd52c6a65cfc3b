"""A file of operators that cannot be read costs their keys, never an exit or a switch (P5, R-020, R-091)."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from gateway_container.operators import add_operator, make_operator
from kopitra.store.switches import SwitchRow, set_switch
from tests.faults.handover_fleet import BASE, PATIENCE_S, STEP_S, Gateway, fleet, gateway, until
from tests.integration.gateway.world import WORKSPACE

#: seconds of a lease that no pause of the machine ends
CALM_S = 30.0


def keys(folder: Path) -> tuple[Path, str]:
    """A file with one operator, and her token."""
    path = folder / "operators.json"
    grant, token = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
    add_operator(path, grant)
    return path, token


async def told(at: Gateway, token: str) -> int:
    """What her key is answered."""
    headers = {"Authorization": f"Bearer {token}"}
    return (await at.http.get("/ops/v1/kill-switches", headers=headers)).status_code


async def known(at: Gateway, token: str) -> None:
    """Wait until her key counts."""
    async with asyncio.timeout(PATIENCE_S):
        while await told(at, token) != 200:
            await asyncio.sleep(STEP_S)


async def test_r020_a_gateway_whose_operators_cannot_be_read_starts_and_follows_an_exit(
    dsn: str, tmp_path: Path
) -> None:
    """P5: their keys count as soon as the file is mended, without a restart."""
    path, token = keys(tmp_path)
    path.chmod(0o644)
    async with fleet(dsn, tmp_path) as one, gateway(dsn, tmp_path, lease_ttl_s=CALM_S) as holder:
        assert holder.leads
        assert await told(holder, token) == 401
        assert holder.replica.machine is not None
        book = holder.replica.machine.state.book
        one.doors = [(holder.http, BASE)]
        await one.send(action="enter", side="buy", quantity=1)
        await until(lambda: sum(p.qty for p in book.positions.values()) == 2, "the entries")
        await one.send(action="exit")
        await until(lambda: all(p.qty == 0 for p in book.positions.values()), "the exits")

        path.chmod(0o600)
        await known(holder, token)
        await one.nothing_is_doubled_or_lost()


async def test_r020_r091_a_switch_is_in_force_although_the_operators_file_was_damaged_since(
    dsn: str, tmp_path: Path
) -> None:
    """By the table and its notice; those who were known stay so."""
    path, token = keys(tmp_path)
    async with fleet(dsn, tmp_path) as one, gateway(dsn, tmp_path, lease_ttl_s=CALM_S) as holder:
        assert await told(holder, token) == 200
        path.write_bytes(b"[{")

        row = SwitchRow("account", "a", WORKSPACE, "halted", 1, "test", "bob", datetime.now(UTC))
        assert await set_switch(one.house.db, row)

        assert holder.replica.machine is not None
        switches = holder.replica.machine.state.book.switches
        await until(lambda: switches.epoch("account", "a") == 1, "the switch")
        assert await told(holder, token) == 200
