"""The build tells the truth: rooms are linted and shipped, locks match their groups, the wheel is whole."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import pytest
from packaging.requirements import Requirement

from tests.architecture.house import PRODUCT, ROOT, files

_PIN = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)", re.MULTILINE)


def _table(*keys: str) -> object:
    table: object = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for key in keys:
        table = cast("Mapping[str, object]", table)[key]
    return table


def _group(name: str) -> list[Requirement]:
    items = cast("list[str | Mapping[str, str]]", _table("dependency-groups", name))
    direct = [Requirement(item) for item in items if isinstance(item, str)]
    included = [item["include-group"] for item in items if not isinstance(item, str)]
    return direct + [requirement for group in included for requirement in _group(group)]


def unmet(requirements: Iterable[Requirement], lock: str) -> list[str]:
    """Requirements that no pin of the lock satisfies."""
    pins: dict[str, list[str]] = {}
    for name, version in _PIN.findall(lock):
        pins.setdefault(name, []).append(version)
    return [
        str(requirement)
        for requirement in requirements
        if not any(requirement.specifier.contains(pin) for pin in pins.get(requirement.name.lower(), []))
    ]


def unhashed(lock: str) -> list[str]:
    """Pins that pip would install without knowing their hash."""
    entries = re.split(r"\n(?=\S)", lock)
    return [entry.split()[0] for entry in entries if _PIN.match(entry) and "--hash=sha256:" not in entry]


def _rooms() -> set[str]:
    packages = {path.parts[0] for path in files() if len(path.parts) == 2 and path.name == "__init__.py"}
    return packages & set(PRODUCT)


def test_every_room_is_linted_and_typed_and_shipped() -> None:
    rooms = _rooms()

    assert rooms <= set(cast("list[str]", _table("tool", "importlinter", "root_packages")))
    assert rooms <= set(cast("list[str]", _table("tool", "pyright", "include")))
    assert rooms <= set(cast("list[str]", _table("tool", "hatch", "build", "targets", "wheel", "packages")))


@pytest.mark.parametrize("group", ["bootstrap", "dev", "functions", "gateway"])
def test_the_lock_holds_its_group_by_hash(group: str) -> None:
    lock = (ROOT / "requirements" / f"{group}.txt").read_text()

    assert not unmet(_group(group), lock), "run 'make lock'"
    assert not unhashed(lock)


@pytest.mark.parametrize("group", ["bootstrap", "functions", "gateway"])
def test_the_locks_agree_with_one_another(group: str) -> None:
    everything = set(_PIN.findall((ROOT / "requirements" / "dev.txt").read_text()))

    assert set(_PIN.findall((ROOT / "requirements" / f"{group}.txt").read_text())) <= everything


def test_a_stale_or_unhashed_lock_is_caught() -> None:
    lock = "aa==1.0 \\\n    --hash=sha256:00\nbb==2.0\n"

    assert unmet([Requirement("aa>=2"), Requirement("bb"), Requirement("cc")], lock) == ["aa>=2", "cc"]
    assert unhashed(lock) == ["bb==2.0"]


def test_the_wheel_holds_every_file_but_the_tests(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    held = set(zipfile.ZipFile(wheel).namelist())

    rooms = _rooms()
    shipped = {str(path) for path in files() if path.parts[0] in rooms and "tests" not in path.parts}
    assert shipped <= held
    assert not [name for name in held if "/tests/" in name]
