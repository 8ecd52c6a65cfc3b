"""The command line on a real database, with a key file of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture
def kopitra(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., "str"]:
    """Run a command and return its standard output; any exit code but the expected one fails the test."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("KOPITRA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KOPITRA_KEY_FILE", str(tmp_path / "master.key"))
    runner = CliRunner()

    def run(line: str, *, code: int = 0, typed: str | None = None) -> str:
        result = runner.invoke(app, line.split(), input=typed)
        assert result.exit_code == code, f"{line}: {result.exit_code}\n{result.output}"
        assert "Traceback" not in result.output
        return result.stdout if code == 0 else result.output

    return run
