"""A broker is a folder: adding one creates a folder and changes nothing else."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import brokers
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.orders import OrderIntent
from kopitra.ports import (
    AccountLink,
    Encoded,
    LoginPlan,
    RunningSimulator,
    Sent,
    SessionChanged,
    SessionEvent,
    SessionState,
    SimAccount,
)
from tests.architecture.broker_folder import missing_pieces
from tests.architecture.house import ROOT

_TOY = Path(__file__).parent / "toy"
_ACCOUNT = SimAccount("A1", Decimal(50_000), {})
_INTENT = OrderIntent(
    cl_ord_id="k-1",
    list_id="l-1",
    account_id="acc-1",
    leader="lead",
    leg="entry",
    role="entry",
    symbol="ESZ6",
    side="buy",
    qty=Decimal(2),
)


class _StillClock:
    """Time stands still in Toy Town."""

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 1


def _login(town: RunningSimulator, name: str) -> LoginPlan:
    settings, credentials = town.login(name)
    return LoginPlan("login-1", (AccountLink("acc-1", "A1", {}),), settings, credentials)


async def _states_until(said: "asyncio.Queue[SessionEvent]", last: SessionState) -> list[SessionState]:
    states: list[SessionState] = []
    while last not in states:
        event = await said.get()
        assert isinstance(event, SessionChanged)
        states.append(event.state)
    return states


@pytest.fixture
def toytown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A complete broker folder outside the repository, on the path of `brokers`."""
    folder = tmp_path / "toytown"
    shutil.copytree(_TOY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(brokers, "__path__", [*brokers.__path__, str(tmp_path)])
    yield folder
    for name in [name for name in sys.modules if name.startswith("brokers.toytown")]:
        del sys.modules[name]


def _broker_folders() -> list[Path]:
    folders = (init.parent for init in (ROOT / "brokers").glob("*/__init__.py"))
    return sorted(folder for folder in folders if not folder.name.startswith("_"))


@pytest.mark.parametrize("folder", _broker_folders(), ids=lambda folder: folder.name)
def test_a_broker_folder_is_complete(folder: Path) -> None:
    assert not missing_pieces(folder)


def test_the_toy_has_the_shape_of_a_broker(toytown: Path) -> None:
    assert not missing_pieces(toytown)


@pytest.mark.parametrize(
    "piece", ["__init__.py", "codec.py", "simulator.py", "README.md", "recordings", "tests"]
)
def test_a_missing_piece_is_noticed(toytown: Path, piece: str) -> None:
    target = toytown / piece
    shutil.rmtree(target) if target.is_dir() else target.unlink()

    assert missing_pieces(toytown)


def test_a_new_folder_is_a_new_broker(toytown: Path) -> None:
    before = {folder.name for folder in _broker_folders()}

    registry = brokers.registry()

    assert set(registry) == before | {"toytown"}
    assert registry["toytown"].title == "Toy Town"


def test_a_folder_without_an_adapter_stops_the_start(toytown: Path) -> None:
    (toytown / "__init__.py").write_text('"""Forgot the adapter."""\n')

    with pytest.raises(TypeError, match="toytown has no ADAPTER"):
        brokers.registry()


def test_an_adapter_under_another_name_stops_the_start(toytown: Path) -> None:
    init = toytown / "__init__.py"
    init.write_text(init.read_text().replace('code: str = "toytown"', 'code: str = "elsewhere"'))

    with pytest.raises(TypeError, match="toytown"):
        brokers.registry()


def test_an_incomplete_adapter_stops_the_start(toytown: Path) -> None:
    (toytown / "__init__.py").write_text("class Half:\n    code = 'toytown'\n\nADAPTER = Half()\n")

    with pytest.raises(TypeError, match="lacks title"):
        brokers.registry()


async def test_an_order_at_the_new_broker_is_filled(toytown: Path) -> None:
    adapter = brokers.registry()["toytown"]
    town = await adapter.start_simulator(host="127.0.0.1", port=0, logins={"me": [_ACCOUNT]}, seed=1)
    said: asyncio.Queue[SessionEvent] = asyncio.Queue()
    session = adapter.open_session(_login(town, "me"), said.put_nowait, _StillClock())
    running = asyncio.create_task(session.run())

    assert await _states_until(said, "live") == ["connecting", "logging_in", "live"]
    encoded = session.encode(_INTENT)
    assert isinstance(encoded, Encoded)
    assert isinstance(session.submit(encoded, lane_exit=False), Sent)
    reports = [await said.get(), await said.get()]

    assert [report.ord_status for report in reports if isinstance(report, ExecutionReport)] == [
        "new",
        "filled",
    ]
    await session.close(drain_s=0)
    await running
    await town.stop()


async def test_a_wrong_password_at_the_new_broker_is_fatal(toytown: Path) -> None:
    adapter = brokers.registry()["toytown"]
    town = await adapter.start_simulator(host="127.0.0.1", port=0, logins={"me": [_ACCOUNT]}, seed=1)
    said: asyncio.Queue[SessionEvent] = asyncio.Queue()
    login = replace(_login(town, "me"), credentials={"password": "whistles"})
    session = adapter.open_session(login, said.put_nowait, _StillClock())

    await session.run()

    assert await _states_until(said, "closed") == ["connecting", "logging_in", "closed"]
    assert session.state == "closed"
    await session.close(drain_s=0)
    await town.stop()
