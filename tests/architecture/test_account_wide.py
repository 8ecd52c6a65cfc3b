"""Pieces that run in a trader's terminal keep the law of scope too (R-096): the rule for Python reads them as text."""

from pathlib import PurePosixPath

from tests.architecture.house import texts
from tests.architecture.rules.scope import ACCOUNT_WIDE

_TERMINAL = {".cs", ".mq4", ".mq5", ".mqh", ".cpp", ".h"}


def found(files: dict[PurePosixPath, str]) -> list[str]:
    return [
        str(path) for path, text in files.items() if path.suffix in _TERMINAL and ACCOUNT_WIDE.search(text)
    ]


def test_no_piece_in_a_terminal_acts_on_all_accounts() -> None:
    assert found(texts()) == []


def test_one_that_did_would_be_found() -> None:
    assert found({PurePosixPath("x.cs"): 'Send("FLATTENEVERYTHING");'}) == ["x.cs"]
