"""Every command explains itself, refuses in words, and never takes a secret as an argument."""

import re
from collections.abc import Iterator

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app

runner = CliRunner()
_SECRET = re.compile(r"secret|password|passwd|token|api.?key|credential|^key$|signing", re.IGNORECASE)


def _commands(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    children = getattr(node, "commands", None)
    if children is None:
        yield path, node
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(get_command(app)))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here may reach a database or the developer's own data."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("KOPITRA_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    for name in ("KOPITRA_KEY", "KOPITRA_URL", "KOPITRA_ACCOUNT", "KOPITRA_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def test_the_groups_that_the_product_needs_are_there() -> None:
    groups = {path[0] for path in COMMANDS}
    assert groups >= {
        "account", "demo", "follower", "gateway", "hook", "key", "leader", "login", "migrate", "openapi", "rule",
        "signal", "sim", "verify", "version", "workspace",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_has_an_example_of_itself(path: tuple[str, ...]) -> None:
    text = str(getattr(COMMANDS[path], "help", ""))
    assert f"Example: kopitra {' '.join(path)}" in text.replace("Example: KOPITRA_KEY=... ", "Example: ")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_can_be_shown(path: tuple[str, ...]) -> None:
    shown = runner.invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_option_takes_a_secret(path: tuple[str, ...]) -> None:
    """Switches may be called after secrets, and an argument may be the public id of a key."""
    for parameter in getattr(COMMANDS[path], "params", ()):
        if getattr(parameter, "param_type_name", "") != "option" or getattr(parameter, "is_flag", False):
            continue
        assert _SECRET.search(str(parameter.name)) is None, f"{' '.join(path)} --{parameter.name}"


@pytest.mark.parametrize(
    "line, said",
    [
        ("rule create lead f1 --set bad", "NAME=VALUE"),
        ("rule create lead f1 --set nonsense=1", "no field"),
        ("rule create lead f1 --sizing never:1", "sizing.mode"),
        ("rule create lead f1 --sizing fixed:0", "above zero"),
        ("rule create lead f1 --set symbol_map=ES", "FROM:TO"),
        ("rule create lead f1 --set pace=fast", "pace"),
        ("rule create lead f1 --set symbol_map=ES:XYZ", "product"),
        ("rule create lead f1 --set exclude=XYZ", "XYZ is no product"),
        ("hook create lead --preset nonsense", "no preset"),
        ("hook create lead --setting nonsense=1", "no setting"),
        ("account create a1 --login d1 --broker-account X --limit nonsense=1", "no limit"),
        ("account create a1 --login d1 --broker-account X --limit daily_loss=-5", "must not be negative"),
        ("login create d1 --broker nowhere", "no broker"),
        ("operator create alice --role king", "no role"),
        ("signal send exit ES", "KOPITRA_KEY"),
        ("sim up nowhere", "no broker"),
        ("verify --anchor 12", "SEQ:HASH"),
        ("nonsense", "No such command"),
    ],
)
def test_a_wrong_argument_is_told_in_words_and_ends_with_two(line: str, said: str) -> None:
    result = runner.invoke(app, line.split())
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_database_that_does_not_answer_is_told_with_its_remedy() -> None:
    result = runner.invoke(app, ["leader", "list"])
    assert result.exit_code == 3
    assert "Check DATABASE_URL" in " ".join(result.output.split())


def test_a_missing_secret_is_not_asked_of_nobody() -> None:
    result = runner.invoke(app, ["login", "create", "d1", "--broker", _a_broker()])
    assert result.exit_code == 2
    assert "KOPITRA_SECRET_" in result.output


def test_secrets_on_standard_input_must_be_known_ones() -> None:
    line = ["login", "create", "d1", "--broker", _a_broker(), "--secrets-from-stdin"]
    result = runner.invoke(app, line, input='{"nonsense": "x"}')
    assert result.exit_code == 2
    assert "unknown: nonsense" in " ".join(result.output.split())


def test_the_document_is_given_without_anything_that_runs() -> None:
    result = runner.invoke(app, ["openapi"])
    assert result.exit_code == 0
    assert '"openapi": "3.1' in result.stdout


def _a_broker() -> str:
    from brokers import registry

    return next(iter(registry()))
