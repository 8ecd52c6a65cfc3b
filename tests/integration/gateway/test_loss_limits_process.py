"""A whole process is killed at the peak: what its successor folds from the journal is not below what was reached."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from gateway_container.engine.recovery import decode_row, read_book
from kopitra.domain.journal import EquityMarked
from kopitra.domain.prop_limits import MaxLoss, PropLimits
from kopitra.store.encoding import encode
from kopitra.store.limits import LimitsRow, add_limits
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from tests.integration.gateway.process import running
from tests.integration.gateway.world import WORKSPACE

LIMITS = PropLimits(
    Decimal(50_000), max_loss=MaxLoss("trailing_intraday", Decimal(2000)), stale_after_ms=60_000
)


async def marked(db: Database) -> Decimal:
    """The highest equity that is durable."""
    rows = await PostgresShelf(db).page("main", 0, 1000)
    entries = [decode_row(row) for row in rows]
    return max((e.measure.peak for e in entries if isinstance(e, EquityMarked)), default=Decimal(0))


async def test_kill_minus_nine_at_the_peak_does_not_lower_it(dsn: str, tmp_path: Path) -> None:
    """R-101."""
    async with running(dsn, tmp_path) as (house, ea, gateway):
        await house.follow("a")
        row = LimitsRow(
            WORKSPACE, "a", 0, date(2026, 1, 1), date(2026, 1, 1), encode(LIMITS), datetime.now(UTC), "ann"
        )
        await add_limits(house.db, row)
        while await marked(house.db) == 0:
            await asyncio.sleep(0.05)
        while (await ea.send(action="enter", side="buy", quantity=1))["approved"] != 1:
            await asyncio.sleep(0.3)
        bid = 6830
        while await marked(house.db) < 51_000:
            await house.on.price(str(bid), f"{bid}.25")
            await asyncio.sleep(0.05)

        gateway.kill()
        await gateway.wait()

        book = await read_book(PostgresShelf(house.db), "main")
        reached = Decimal(50_000) + (bid - Decimal("6800.25")) * 50
        assert book.measures["a"].peak >= reached
        assert book.measures["a"].peak == await marked(house.db)
