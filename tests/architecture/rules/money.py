"""Quantities and prices are exact, shapes are typed, and no word list that moves money has a fallback."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.house import Finding, Rule, Source, annotations, found, functions, references, walk

_MONEY = re.compile(
    r"(^|_)(qty|quantity|price|px|notional|pnl|equity|balance|stop_loss|take_profit|tick_size|tick_value)(_|$)"
)
_RATES = re.compile(r"_(s|ms|us|ns|ratio|factor)$")
_FALLBACKS = {"unknown", "other", "unspecified", "undefined", "fallback", "default", "_missing_"}
_MOVES_MONEY = re.compile(r"Side|Ord|Exec|Fill|TimeInForce|Position|Action")


def no_float_money(source: Source) -> Iterator[Finding]:
    if not source.is_product:
        return
    for node, name, annotation in annotations(source):
        if _MONEY.search(name) and not _RATES.search(name) and _names(annotation, "float"):
            yield found(source, node, f"{name} is a float: use Decimal, or an integer of ticks or steps")


def no_any(source: Source) -> Iterator[Finding]:
    if source.path.stem.startswith("codec") or source.path.parent.name == "codec":
        return
    for node, name in references(source):
        if name == "typing.Any":
            yield found(source, node, "Any ends type checking: take object and narrow it")


def no_loose_dict(source: Source) -> Iterator[Finding]:
    """In the rooms that decide and keep, a public function neither takes nor gives a dict of anything."""
    if not source.under("kopitra/domain", "kopitra/store", "gateway_container/engine"):
        return
    for node in functions(source):
        signature = [arg.annotation for arg in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
        if not node.name.startswith("_") and any(part and _is_loose(part) for part in signature):
            yield found(
                source, node, f"{node.name} hands over a dict of anything: make it a frozen dataclass"
            )


def no_fallback_member(source: Source) -> Iterator[Finding]:
    """Of our own words; a broker's wire may well have a word Unknown, and its codec must then decide."""
    if source.room != "kopitra":
        return
    for name, node, members in _word_lists(source):
        if _MOVES_MONEY.search(name):
            for member in members & _FALLBACKS:
                yield found(source, node, f"{name} falls back to {member}: an unmodelled value must raise")


def _names(annotation: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(annotation))


def _is_loose(annotation: ast.expr) -> bool:
    text = ast.unparse(annotation)
    return bool(re.search(r"\b(dict|Mapping|MutableMapping)\[str, (object|Any)\]|\bdict(?!\[)", text))


def _word_lists(source: Source) -> Iterator[tuple[str, ast.AST, set[str]]]:
    """Closed lists of words, as (name, node, members in lower case): enums and `Name = Literal[...]`."""
    for node in walk(source):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(parent).endswith("Enum") for parent in node.bases
        ):
            yield node.name, node, {name.lower() for name in _class_names(node)}
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(
            ("Literal[", "typing.Literal[")
        ):
            words = {str(word.value).lower() for word in ast.walk(node) if isinstance(word, ast.Constant)}
            yield ast.unparse(node.targets[0]), node, words


def _class_names(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.Assign):
            yield from (ast.unparse(target) for target in item.targets)
        elif isinstance(item, ast.FunctionDef):
            yield item.name


RULES = (
    Rule(
        "no-float-money",
        no_float_money,
        bad=(
            ("kopitra/domain/x.py", "def f(order_qty: float): ..."),
            ("brokers/_kit/x.py", "class A:\n limit_price: float | None = None"),
        ),
        good=(
            ("kopitra/domain/x.py", "def f(order_qty: Decimal, price_age_s: float): ..."),
            ("bench/x.py", "def f(price: float): ..."),
        ),
    ),
    Rule(
        "no-any",
        no_any,
        bad=(
            ("kopitra/x.py", "from typing import Any\nx: Any = 1"),
            ("tests/unit/test_x.py", "import typing as t\ndef f(x: t.Any): ..."),
        ),
        good=(
            ("brokers/_kit/codec.py", "from typing import Any\nx: Any = 1"),
            ("kopitra/x.py", "x: object = 1"),
        ),
    ),
    Rule(
        "no-loose-dict",
        no_loose_dict,
        bad=(
            ("kopitra/store/x.py", "def rows() -> list[dict[str, object]]: ..."),
            ("gateway_container/engine/x.py", "async def f(body: dict) -> None: ..."),
        ),
        good=(
            ("kopitra/store/x.py", "def _row() -> dict[str, object]: ..."),
            ("kopitra/store/x.py", "def f(by_id: dict[str, Order]) -> None: ..."),
            ("gateway_container/api/x.py", "def f() -> dict[str, object]: ..."),
        ),
    ),
    Rule(
        "no-fallback-member",
        no_fallback_member,
        bad=(
            ("kopitra/domain/x.py", "class OrdStatus(StrEnum):\n NEW = '0'\n UNKNOWN = '?'"),
            ("kopitra/domain/x.py", "class Side(enum.Enum):\n @classmethod\n def _missing_(cls, v): ..."),
            ("kopitra/domain/x.py", "OrdStatus = Literal['new', 'unknown']"),
        ),
        good=(
            ("kopitra/domain/x.py", "class OrdStatus(StrEnum):\n NEW = '0'"),
            ("kopitra/domain/x.py", "class Outcome(StrEnum):\n UNKNOWN = '?'"),
            ("kopitra/domain/x.py", "Outcome = Literal['sent', 'unknown']"),
            ("brokers/toy/codec.py", "TheirOrdStatus = Literal['Unknown']"),
        ),
    ),
)
