"""T-23: real processes over a real PostgreSQL, killed at labelled points of every stage (R-016 to R-022).

`CRASH_POINTS=all` runs every point; `python -m tests.faults.crash` runs them under every seed and writes figures.
"""

import importlib
import inspect
import os
from pathlib import Path

import pytest

from tests.faults.crash.__main__ import chosen
from tests.faults.crash.campaign import run
from tests.faults.crash.database import Pace, restarted, trading
from tests.faults.crash.points import FEW, STAGES, Point
from tests.faults.publish import DatabaseRuns
from tests.faults.runs import commit

POINTS = os.environ.get("CRASH_POINTS", "few")
#: seconds for one point when four run side by side on a busy machine
POINT_S = 60


@pytest.mark.timeout(120 + POINT_S * len(chosen(POINTS)))
async def test_whoever_dies_at_a_point_doubles_and_loses_nothing() -> None:
    """T-23, R-022, I-01, I-02, I-03, I-07, I-08, I-19: its successors end what it began, and the ledgers agree."""
    broken: list[str] = []
    async for one in run([(death, number) for number, death in enumerate(chosen(POINTS))], at_once=4):
        broken += [f"{one.death.label}: {text}; again: {one.repeat}" for text in one.verdict.broken]
    assert not broken, "\n".join(broken)


@pytest.mark.timeout(300)
async def test_a_database_that_dies_under_load_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """T-23, R-071 to R-077, I-01, I-02: what was answered is durable and was done once."""
    async with trading(tmp_path, seed=3) as made:
        found = DatabaseRuns(commit())
        await restarted(made, Pace(restarts=3, every_s=(0.2, 1.0), down_s=(0.0, 2.0)), found)
        assert found.signals > 3
        assert (found.restarts, found.doubled, found.lost) == (3, 0, 0)
        await made.one.nothing_is_doubled_or_lost()


@pytest.mark.parametrize("point", sorted({p.label for death in STAGES for p in death.points}))
def test_a_point_names_something_that_exists(point: str) -> None:
    """A point whose function was renamed would be reached by nobody."""
    module, _, path = Point.parse(point).target.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    assert found is not None


def test_there_are_forty_points_and_few_of_them_cover_every_scene() -> None:
    assert len({death.label for death in STAGES}) == len(STAGES) >= 40
    assert {death.scene for death in FEW} >= {"plain", "marked", "drift", "dark", "standby"}
