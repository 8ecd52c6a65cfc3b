"""T-30: every broker's session through a line with each of twelve faults; the ledger judges (I-01, I-07, I-08)."""

import asyncio

import pytest

from brokers import registry
from tests.faults.wire.toxics import TOXICS
from tests.faults.wire.workload import Outcome, Run

#: runs of one broker at once: they wait most of their time
AT_ONCE = 6


@pytest.mark.parametrize("code", sorted(registry()))
@pytest.mark.timeout(240)
async def test_no_fault_of_the_line_doubles_or_loses_an_order(code: str) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Outcome:
        async with gate:
            return await Run(registry()[code], name, 1).outcome()  # pyright: ignore[reportArgumentType]

    outcomes = await asyncio.gather(*(one(name) for name in TOXICS))
    assert [f"{o.toxic}: {wrong}" for o in outcomes for wrong in o.violations] == []
    assert [o.toxic for o in outcomes if not o.injected] == [], "these faults never happened"
    assert all(o.sent + o.not_sent for o in outcomes)
