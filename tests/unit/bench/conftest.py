from pathlib import Path

import pytest

from bench.rig import build_tap
from tests.unit.bench.tap_world import TEMPLATE


@pytest.fixture(scope="session", autouse=True)
def compiled_tap() -> Path:
    return build_tap()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "signal.http"
    path.write_text(TEMPLATE)
    return path
