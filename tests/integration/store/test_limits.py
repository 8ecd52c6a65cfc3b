"""Loss limits in the database: versions with their days, requests for a new start, and both on record."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from psycopg.errors import CheckViolation

from gateway_container.config_source import gateway_config
from kopitra.domain.errors import Conflict
from kopitra.domain.measuring import NewStart
from kopitra.domain.prop_limits import ContractCap, DailyLoss, MaxLoss, PropLimits
from kopitra.domain.reset_clock import ResetClock
from kopitra.store.accounts import AccountRow, LoginRow, create_account, create_login
from kopitra.store.config import load_config
from kopitra.store.config_changes import waiting_changes
from kopitra.store.encoding import encode
from kopitra.store.limits import (
    LimitsRow,
    NewStartRow,
    add_limits,
    ask_new_start,
    limits_versions,
    new_starts,
)
from kopitra.store.pool import Database
from kopitra.store.sealing import Sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
LIMITS = PropLimits(
    Decimal(50_000),
    reset=ResetClock("Europe/Prague", 0),
    daily_loss=DailyLoss(percent=Decimal("2.5")),
    max_loss=MaxLoss("trailing_eod", Decimal(2000), Decimal(100)),
    caps=(ContractCap("ES", Decimal(5)),),
    mandatory_stop=True,
)


def row(limits: PropLimits = LIMITS, after: int = 0, day: int = 20) -> LimitsRow:
    return LimitsRow(
        "w", "prop-7", after, date(2026, 11, day), date(2026, 11, 19), encode(limits), NOW, "cli:ann"
    )


@pytest.fixture
async def house(db: Database) -> Database:
    await create_workspace(db, WorkspaceRow("w", "w", NOW))
    await create_login(db, LoginRow("w", "l", "b", "t", {}))
    await create_account(db, AccountRow("w", "prop-7", "l", "50K", "t", {}, b"{}"))
    return db


async def test_versions_are_kept_with_their_days_and_who_made_them(house: Database) -> None:
    first = await add_limits(house, row())
    second = await add_limits(house, row(replace(LIMITS, mandatory_stop=False), after=1, day=23))
    found = await limits_versions(house, "w", "prop-7")
    assert [(x.version, x.effective_from.day, x.created_by) for x in found] == [
        (2, 23, "cli:ann"),
        (1, 20, "cli:ann"),
    ]
    assert (first.version, second.version) == (1, 2)


async def test_a_version_after_another_than_the_newest_is_refused(house: Database) -> None:
    await add_limits(house, row())
    with pytest.raises(Conflict, match="meanwhile"):
        await add_limits(house, row())
    with pytest.raises(Conflict):
        await add_limits(house, replace(row(), account_id="nobody"))


async def test_the_gateway_gets_every_version_as_it_was_written_and_the_newest_new_start(
    house: Database,
) -> None:
    await add_limits(house, row())
    await add_limits(house, row(after=1, day=23))
    for balance in (Decimal(50_000), None):
        await ask_new_start(
            house, NewStartRow("w", "prop-7", balance, None, "reset by the firm", NOW, "cli:ann")
        )
    account = gateway_config(await load_config(house), Sealer({})).accounts["prop-7"]
    assert account.prop == tuple(
        replace(LIMITS, version=n, effective_from=date(2026, 11, day), verified_on=date(2026, 11, 19))
        for n, day in ((1, 20), (2, 23))
    )
    newest = (await new_starts(house, "w", "prop-7"))[0]
    assert account.new_start == NewStart(newest.start_id, None, None, "cli:ann", "reset by the firm")


async def test_changes_of_limits_and_new_starts_are_recorded_with_before_and_after(house: Database) -> None:
    await add_limits(house, row())
    await add_limits(house, row(after=1))
    await ask_new_start(house, NewStartRow("w", "prop-7", None, None, "reset by the firm", NOW, "cli:ann"))
    changes = [c for c in await waiting_changes(house, 20) if c.what in ("limits", "measuring start")]
    assert [(c.what, c.what_id, c.before == "null") for c in changes] == [
        ("limits", "prop-7", True), ("limits", "prop-7", False), ("measuring start", "prop-7", True),
    ]  # fmt: skip
    assert '"version": 1' in changes[1].before
    assert "reset by the firm" in changes[2].after


async def test_a_new_start_needs_a_reason(house: Database) -> None:
    with pytest.raises(CheckViolation):
        await ask_new_start(house, NewStartRow("w", "prop-7", None, None, "", NOW, "cli:ann"))
