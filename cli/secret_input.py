"""Secrets come in by a prompt, by standard input or by the environment, never by an argument: arguments are
shown to everybody on the machine and stay in the shell's history.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, cast

import typer

from cli.rim import WRONG_ARGUMENTS, Stop

#: characters of standard input
INPUT_LENGTH_MAX: Final = 65_536
_ENVIRONMENT: Final = "KOPITRA_SECRET_"


def credentials(names: Sequence[str], optional: Sequence[str] = (), *, from_stdin: bool) -> dict[str, str]:
    """The named secrets: from a JSON object on standard input, else from KOPITRA_SECRET_<NAME>, else asked.

    Raises Stop when a required one is missing and nobody can be asked.
    """
    if from_stdin:
        return _checked(_from_stdin(), names, optional)
    found = {
        name: text for name in (*names, *optional) if (text := os.environ.get(_ENVIRONMENT + name.upper()))
    }
    for name in names:
        if name not in found:
            found[name] = _asked(name)
    return found


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        raise Stop(
            f"The secret {name} is needed: set {_ENVIRONMENT}{name.upper()}, or send a JSON object with "
            "--secrets-from-stdin.",
            WRONG_ARGUMENTS,
        )
    answer = cast("object", typer.prompt(name, hide_input=True, err=True))
    return str(answer)


def _from_stdin() -> Mapping[str, object]:
    text = sys.stdin.read(INPUT_LENGTH_MAX)
    try:
        given = cast("object", json.loads(text))
    except json.JSONDecodeError as error:
        raise Stop(f"Standard input must be a JSON object of secrets: {error}.", WRONG_ARGUMENTS) from None
    if not isinstance(given, dict):
        raise Stop("Standard input must be a JSON object of secrets.", WRONG_ARGUMENTS)
    return cast("Mapping[str, object]", given)


def _checked(given: Mapping[str, object], names: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    unknown = sorted(set(given) - {*names, *optional})
    missing = [name for name in names if not given.get(name)]
    if unknown or missing:
        wrong = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        known = ", ".join((*names, *optional))
        raise Stop(f"The secrets on standard input do not fit ({wrong}); known: {known}.", WRONG_ARGUMENTS)
    return {name: str(value) for name, value in given.items()}
