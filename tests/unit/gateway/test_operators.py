"""The operators' file: what is damaged in it is told with a remedy, and nobody is let in by half of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway_container.operators import OperatorsFile, add_operator, load_operators, make_operator
from kopitra.domain.errors import Corrupt

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "operators.json"
    grant, _ = make_operator("w", "ann", "operator", NOW)
    add_operator(path, grant)
    assert load_operators(path) == (grant,)


@pytest.mark.parametrize(
    "damage",
    [{"secret_sha256": "zz"}, {"expires_at": "2027-01-01T00:00:00"}, {"role": "king"}, {"more": 1}],
    ids=["digest", "no zone", "role", "field"],
)
def test_a_damaged_file_is_refused_with_a_remedy(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "operators.json"
    grant, _ = make_operator("w", "ann", "operator", NOW)
    add_operator(path, grant)
    (row,) = json.loads(path.read_text())
    path.write_text(json.dumps([row | damage]))
    with pytest.raises(Corrupt, match="restore it"):
        load_operators(path)


def test_r020_what_cannot_be_read_leaves_those_read_last(tmp_path: Path) -> None:
    """P5: nobody at the start; whoever repairs it is heard of once."""
    path = tmp_path / "operators.json"
    grant, _ = make_operator("w", "ann", "operator", NOW)
    add_operator(path, grant)
    good = path.read_bytes()
    path.chmod(0o644)
    file = OperatorsFile(path)
    assert (file.read(), file.mended()) == ((), False)
    path.chmod(0o600)
    assert file.mended()
    assert (file.read(), file.mended()) == ((grant,), False)
    path.write_bytes(b"[{")
    assert (file.read(), file.mended()) == ((grant,), False)
    path.write_bytes(good)
    assert file.mended()
    path.unlink()
    assert file.read() == ()


def test_r020_a_folder_in_its_place_leaves_those_read_last(tmp_path: Path) -> None:
    path = tmp_path / "operators.json"
    path.mkdir(mode=0o700)
    assert OperatorsFile(path).read() == ()
