"""What the pages for people say is so: links lead somewhere, tables match the code, commands exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import cast

import pytest
import typer
from typer.core import TyperGroup

from brokers._kit.matching.control import apply_control
from brokers._kit.matching.core import MatchingCore
from brokers._kit.matching.settings import SimSettings
from cli import rim
from cli.main import app
from gateway_container.api.doors import Served
from gateway_container.api.problems import CODES
from gateway_container.compose import _fields
from kopitra.domain.journal import KINDS
from kopitra.domain.orders import TERMINAL, TRANSITIONS
from kopitra.settings import Settings
from kopitra.telemetry import HopTimes, Metrics, Tally
from tests.architecture.house import ROOT, texts

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
#: words of a command line that are no sub-command
_OPTION = re.compile(r"-|[A-Z]|.*[=.:/\"'0-9]")


@cache
def pages() -> dict[PurePosixPath, str]:
    """Every committed Markdown page but samples of payloads."""
    return {path: text for path, text in texts().items() if path.suffix == ".md"}


def slug(heading: str) -> str:
    """The anchor that a heading gets where pages are shown."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return kept.strip().replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)}


def broken_links(path: PurePosixPath, text: str, root: Path = ROOT) -> Iterator[str]:
    """Links of a page to files that are not there, or to headings that they do not have."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (root / path).parent / name if name else root / path
        if not there.exists():
            yield f"{path}: {target} is not there"
        elif anchor and anchor not in anchors(there.read_text()):
            yield f"{path}: {target} has no such heading"


def table(page: str, name: str) -> list[list[str]]:
    """The cells of the rows under `<!-- table:NAME -->`."""
    _, mark, rest = (ROOT / page).read_text().partition(f"<!-- table:{name} -->\n")
    assert mark, f"{page} needs <!-- table:{name} --> before that table"
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def named(cell: str) -> list[str]:
    """What stands in backticks."""
    return _CODE.findall(cell)


def shown(value: object) -> str:
    """A default as the pages write it."""
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


# links and commands ----------------------------------------------------------------------------------------


def test_links_between_pages_lead_somewhere() -> None:
    broken = [fault for path, text in pages().items() for fault in broken_links(path, text)]

    assert not broken, "\n".join(broken)


def test_a_broken_link_is_caught(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One heading\n")
    page = PurePosixPath("page.md")

    assert not list(broken_links(page, "[a](there.md#one-heading) [b](mailto:x@y)", tmp_path))
    assert list(broken_links(page, "[a](gone.md)", tmp_path))
    assert list(broken_links(page, "[a](there.md#another)", tmp_path))


def command_lines(text: str) -> Iterator[str]:
    """`kopitra ...` in shell blocks and in backticks."""
    shell = "\n".join(_SHELL.findall(text)).replace("\\\n", " ")
    yield from re.findall(r"(?:^|[|;&] *|\.venv/bin/)kopitra +([^|;&#\n]+)", shell, re.MULTILINE)
    yield from (
        found.removeprefix("kopitra ") for found in _CODE.findall(text) if found.startswith("kopitra ")
    )


def faults_of(line: str) -> Iterator[str]:
    """What a command line names that the command line does not have."""
    command = typer.main.get_command(app)
    words = line.split()
    while isinstance(command, TyperGroup) and words and not _OPTION.match(words[0]):
        name = words.pop(0)
        found = command.commands.get(name)
        if found is None:
            yield f"kopitra {line}: there is no {name}"
            return
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    for word in words:
        if word.startswith("-") and word.partition("=")[0] not in known:
            yield f"kopitra {line}: there is no {word}"


def test_commands_on_the_pages_exist() -> None:
    lines = {line for text in pages().values() for line in command_lines(text)}
    wrong = [fault for line in sorted(lines) for fault in faults_of(line)]

    assert len(lines) > 10
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("line", ["hooks list", "hook creat", "hook create lead --pre x", "sim down"])
def test_a_command_that_does_not_exist_is_caught(line: str) -> None:
    assert list(faults_of(line))


def test_every_command_and_its_variables_are_on_a_page() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    lines = " ".join(f" {line} " for text in pages().values() for line in command_lines(text))
    operations = (ROOT / "docs" / "operations.md").read_text()
    commands = [
        leaf
        for top in group.commands.values()
        for leaf in (top.commands.values() if isinstance(top, TyperGroup) else [top])
    ]
    variables = {str(found.envvar) for leaf in commands for found in leaf.params if found.envvar}

    assert not [name for name in group.commands if f" {name} " not in lines]
    assert variables
    assert not [name for name in variables if name not in operations]


def test_targets_of_make_on_the_pages_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {
        found
        for text in pages().values()
        for found in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)
    }

    assert asked
    assert asked <= known


# tables ----------------------------------------------------------------------------------------------------


def test_settings_of_the_gateway() -> None:
    rows = table("docs/operations.md", "settings")

    assert {named(row[0])[0]: row[1] for row in rows} == {
        str(field.validation_alias or f"KOPITRA_{name.upper()}"): shown(field.default)
        for name, field in Settings.model_fields.items()
    }


def _labels(collector: object) -> tuple[str, ...]:
    """The library hides them, our own collectors do not."""
    return tuple(getattr(collector, "labels" if isinstance(collector, HopTimes | Tally) else "_labelnames"))


def test_metrics() -> None:
    rows = table("docs/operations.md", "metrics")
    collectors = [value for value in vars(Metrics()).values() if hasattr(value, "describe")]
    wanted = {
        (metric.name + ("_total" if metric.type == "counter" else ""), metric.type, _labels(collector))
        for collector in collectors
        if not hasattr(collector, "collectors_by_name") and not hasattr(collector, "register")
        for metric in collector.describe()
    }

    assert {(named(r[0])[0], r[1], tuple(filter(None, r[2].split(", ")))) for r in rows} == wanted


def test_fields_of_a_request_in_the_log() -> None:
    rows = table("docs/operations.md", "log-fields")
    served = Served("", "", 200, "", "", "", "", "", 0)

    assert {name for row in rows for name in named(row[0])} == set(_fields(served))


def test_exit_codes() -> None:
    rows = table("docs/operations.md", "exit-codes")

    assert {int(row[0]) for row in rows} == {0, rim.NO, rim.WRONG_ARGUMENTS, rim.BROKEN, rim.INTERRUPTED}


def test_problem_codes() -> None:
    rows = table("docs/operations.md", "problem-codes")

    assert {code: int(row[0]) for row in rows for code in named(row[1])} == {
        code: told.status for code, told in CODES.items()
    }


def test_settings_of_a_simulator() -> None:
    rows = table("docs/simulators.md", "settings")
    defaults = {name: getattr(SimSettings(), name) for name in SimSettings.__dataclass_fields__}

    assert {named(row[0])[0]: row[1] for row in rows} == {
        name: shown(value) for name, value in defaults.items()
    }


def test_commands_of_a_simulator() -> None:
    rows = table("docs/simulators.md", "commands")
    with pytest.raises(ValueError, match="known: ") as told:
        apply_control(cast("MatchingCore", None), {"command": "?"}, 0)
    known = str(told.value).partition("known: ")[2].split(", ")

    assert {named(row[0])[0] for row in rows} == set(known)


def test_states_of_a_child_order() -> None:
    rows = table("ARCHITECTURE.md", "states")
    onward: dict[str, set[str]] = {}
    for (state, _), to in TRANSITIONS.items():
        onward.setdefault(state, set()).update({to} - {state})

    assert {named(row[0])[0]: set(named(row[2])) for row in rows} == onward
    assert {named(row[0])[0] for row in rows if row[1].startswith("over")} == TERMINAL


def test_entries_of_the_journal() -> None:
    rows = table("ARCHITECTURE.md", "entries")

    assert {named(row[0])[0]: named(row[1])[0] for row in rows} == {
        entry.__name__: kind for entry, kind in KINDS.items()
    }


def test_files_named_in_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    paths = [
        found for found in _CODE.findall(text) if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|sql|md|toml)", found)
    ]

    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]
