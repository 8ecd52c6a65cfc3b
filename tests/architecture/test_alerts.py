"""Every alert code of the source stands in the table for operators, and no other does."""

import ast
import re
from collections.abc import Iterator, Mapping

from gateway_container.engine import assertions, equity, leader_streams
from tests.architecture.house import ROOT

_CODE = re.compile(r"`([^`\n]+)`")
#: what raises an alert, by the last part of its name
_RAISES = frozenset({"alert", "_alert", "AlertRaised"})
#: codes that are put together where they are raised
_MADE = {
    "f'invariant-{invariant.lower()}'": [f"invariant-{name.lower()}" for name in assertions.INVARIANTS],
    "f'{kind}-unknown'": ["cancel-unknown", "replace-unknown"],
    "f'{failed.request}-unknown'": ["cancel-unknown", "replace-unknown"],
    "_ALERTS[standing.rung]": list(equity._ALERTS.values()),
    "_CODES[verdict]": list(leader_streams._CODES.values()),
    "code": [],  # handed on by those who are asked
}


def raised() -> Iterator[str]:
    """Codes in the gateway's source."""
    for path in sorted((ROOT / "gateway_container").rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            node.target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _RAISES:
                yield from _codes(node.args[0], constants, str(path))


def _codes(first: ast.expr, constants: Mapping[str, object], where: str) -> list[str]:
    if isinstance(first, ast.Constant):
        return [str(first.value)]
    if isinstance(first, ast.Name) and first.id in constants:
        return [str(constants[first.id])]
    text = ast.unparse(first)
    assert text in _MADE, f"{where}: say in _MADE which codes {text} can be"
    return _MADE[text]


def test_alerts() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = page.partition("<!-- table:alerts -->\n")[2].partition("\n\n")[0].splitlines()[2:]
    told = [code for row in rows for code in _CODE.findall(row.split("|")[1])]

    assert len(told) == len(set(told))
    assert set(told) == set(raised())
    assert all(len(row.split("|")) == 5 and row.split("|")[3].strip() for row in rows)
