"""The registry reads the folder list and lets no half broker start."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import brokers

_WHOLE = """
from types import SimpleNamespace
from kopitra.ports import Capabilities

async def later(*args, **kwargs): ...

CAPABILITIES = dict(
    ord_types=frozenset({"market"}), times_in_force=frozenset({"day"}), replace="none", brackets=False,
    dedups_cl_ord_id=False, cl_ord_id_length_max=32, netting=True, closes_position=False, reports="stream",
    quotes=False, lists_executions=False,
)
PARTS = dict(
    code="smallville", title="Smallville",
    open_session=lambda *a: None, list_accounts=later, start_simulator=later,
    credential_schema={"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
)
"""
_ADAPTER = "ADAPTER = SimpleNamespace(capabilities=Capabilities(**CAPABILITIES), **PARTS)\n"


@pytest.fixture
def smallville(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The __init__.py of a broker that does nothing, on the path of `brokers` alone."""
    init = tmp_path / "smallville" / "__init__.py"
    init.parent.mkdir()
    init.write_text(_WHOLE + _ADAPTER)
    monkeypatch.setattr(brokers, "__path__", [str(tmp_path)])
    yield init
    sys.modules.pop("brokers.smallville", None)


def test_a_folder_is_a_broker(smallville: Path) -> None:
    assert [adapter.title for adapter in brokers.registry().values()] == ["Smallville"]


def test_folders_are_read_once(smallville: Path) -> None:
    first = brokers.registry()
    smallville.unlink()

    assert brokers.registry() is first


def test_folders_of_the_kit_are_no_brokers(smallville: Path) -> None:
    smallville.parent.rename(smallville.parent.with_name("_kit_of_ours"))

    assert not brokers.registry()


@pytest.mark.parametrize(
    "change, told",
    [
        ("PARTS.pop('title')", "lacks title"),
        ("PARTS['code'] = 'bigville'", "calls itself 'bigville'"),
        ("PARTS['list_accounts'] = print", "list_accounts that is no coroutine function"),
        ("CAPABILITIES['ord_types'] = frozenset({'limit'})", "market among them"),
        ("CAPABILITIES['ord_types'] = frozenset({'market', 'iceberg'})", "iceberg"),
        ("CAPABILITIES['times_in_force'] = frozenset()", "times in force"),
        ("CAPABILITIES['cl_ord_id_length_max'] = 16", "client ids of 16 characters"),
        ("Capabilities = dict", "capabilities of another type"),
        ("PARTS['credential_schema'] = {}", "credential_schema"),
        ("PARTS['credential_schema']['required'] = ['secret']", "requires secret without describing it"),
        ("import brokers.smallville.codec", "cannot be imported"),
    ],
)
def test_a_broker_that_cannot_be_stops_the_start_by_name(smallville: Path, change: str, told: str) -> None:
    smallville.write_text(f"{_WHOLE}{change}\n{_ADAPTER}")

    with pytest.raises(TypeError, match=f"brokers/smallville.*{told}"):
        brokers.registry()


def test_a_folder_that_is_no_package_yet_stops_the_start_by_name(smallville: Path) -> None:
    smallville.unlink()

    with pytest.raises(TypeError, match="brokers/smallville has no ADAPTER"):
        brokers.registry()
