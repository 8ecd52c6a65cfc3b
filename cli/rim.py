"""The rim of the command line: exit codes, expected errors in one line with their remedy, tables and JSON.

Exit codes: 0 done; 1 the answer is no (a bad row, a refused signal, a demo that differed); 2 wrong arguments;
3 something that is needed does not work (database, key file, gateway, simulator); 130 interrupted.
"""

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Generator, Mapping, Sequence
from typing import Annotated, Final, TypeVar, cast

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from cli.local.postgres import EmbeddedPostgresError
from kopitra.domain.errors import KopitraError

NO: Final = 1
WRONG_ARGUMENTS: Final = 2
BROKEN: Final = 3
INTERRUPTED: Final = 130

T = TypeVar("T")
#: one row of a listing: column -> value, in the order of the columns
Row = Mapping[str, object]

out: Final = Console(highlight=False)
err: Final = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON array on standard output, nothing else.")]
Workspace = Annotated[
    str, typer.Option("--workspace", "-w", envvar="KOPITRA_WORKSPACE", help="The tenant that this is about.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether you are sure.")]


class Stop(Exception):
    """An expected end: `text` says what is wrong and what to do; `code` is the exit code."""

    def __init__(self, text: str, code: int = BROKEN) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Rim(TyperGroup):
    """The outermost group: expected errors end a command with one line and an exit code."""

    def invoke(self, ctx: object) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(cast("typer.Context", ctx))
        except Stop as stop:
            raise _ended(stop.text, stop.code) from None
        except KopitraError as error:
            raise _ended(_one_line(f"{error.message} [{error.code}]"), BROKEN) from None
        except ValidationError as error:
            raise _ended(_settings_fault(error), WRONG_ARGUMENTS) from None
        except (EmbeddedPostgresError, OSError) as error:
            raise _ended(_one_line(str(error)), BROKEN) from None
        except KeyboardInterrupt:
            raise _ended("interrupted", INTERRUPTED) from None


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's work on a loop of its own."""
    return asyncio.run(work)


def _one_line(text: str) -> str:
    """PostgreSQL and the system speak in several lines."""
    return " ".join(text.split())


def _settings_fault(error: ValidationError) -> str:
    """Which variable of the environment (or of .env) does not fit; never its value, which may be a secret."""
    faults = [(str(fault["loc"][0]), fault["msg"]) for fault in error.errors()]
    named = [f"{name if name.isupper() else f'KOPITRA_{name.upper()}'}: {said}" for name, said in faults]
    return f"The environment or .env does not fit: {'; '.join(named)}. See .env.sample."


def _ended(text: str, code: int) -> typer.Exit:
    err.print(text, style="red" if code != INTERRUPTED else None, markup=False, soft_wrap=True)
    return typer.Exit(code)


@contextlib.contextmanager
def progress(text: str) -> Generator[None]:
    """A moving line on standard error while something takes its time."""
    with err.status(text):
        yield


def say(text: str) -> None:
    """One line for a person, on standard error, so that standard output stays data."""
    err.print(text, markup=False, soft_wrap=True)


def give(text: str) -> None:
    """One line of data on standard output, never folded."""
    print(text, flush=True)


def give_json(value: object) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, default=str, ensure_ascii=False), flush=True)


def listing(title: str, rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Rows as a table, or as one JSON array. `empty` says what to do when there is none."""
    if as_json:
        give_json([dict(row) for row in rows])
        return
    if not rows:
        say(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    out.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def pairs(given: Sequence[str], what: str) -> dict[str, str]:
    """`NAME=VALUE` arguments as a mapping; raises Stop for one that is none or comes twice."""
    found: dict[str, str] = {}
    for item in given:
        name, mark, value = item.partition("=")
        if not mark or not name or name in found:
            raise Stop(f"{what} {item!r} must read NAME=VALUE, each name once.", WRONG_ARGUMENTS)
        found[name] = value
    return found
