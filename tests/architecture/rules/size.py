"""Nothing grows past what one reader can hold. (Cyclomatic complexity <= 10 is ruff's C901.)"""

import ast
from collections.abc import Iterator

from tests.architecture.house import Finding, Rule, Source, found, functions

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
NESTING_MAX = 3

_NAMES_THAT_SAY_NOTHING = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "manager",
    "managers",
    "base",
}
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def file_length(source: Source) -> Iterator[Finding]:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield found(source, 1, f"{lines} lines, at most {FILE_LINES_MAX}: split it by noun")


def function_length(source: Source) -> Iterator[Finding]:
    for node in functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield found(source, node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


def nesting(source: Source) -> Iterator[Finding]:
    for node in functions(source):
        depth = max((_depth(child) for child in node.body), default=0)
        if depth > NESTING_MAX:
            yield found(source, node, f"{node.name} nests {depth} deep, at most {NESTING_MAX}: return early")


def module_name(source: Source) -> Iterator[Finding]:
    for part in (*source.path.parent.parts, source.path.stem):
        if part.rpartition("_")[2] in _NAMES_THAT_SAY_NOTHING:
            yield found(source, 1, f"{part!r} says nothing: name it after what it knows")


def _depth(node: ast.AST) -> int:
    if isinstance(node, _OWN_SCOPE):
        return 0
    own = int(isinstance(node, _BLOCKS))
    return max(
        (own + _depth(child) - _is_elif(node, child) for child in ast.iter_child_nodes(node)), default=own
    )


def _is_elif(node: ast.AST, child: ast.AST) -> bool:
    """`elif` is an If inside an If's else, but a reader sees one level."""
    return isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]


def _nested(levels: int, block: str = "if x:") -> str:
    return (
        "def f(x):\n"
        + "".join(" " * (i + 1) + block + "\n" for i in range(levels))
        + " " * (levels + 1)
        + "pass\n"
    )


RULES = (
    Rule(
        "file-length",
        file_length,
        bad=(("kopitra/long.py", "x = 1\n" * (FILE_LINES_MAX + 1)),),
        good=(("kopitra/long.py", "x = 1\n" * FILE_LINES_MAX),),
    ),
    Rule(
        "function-length",
        function_length,
        bad=(("kopitra/f.py", "def f():\n" + " x = 1\n" * FUNCTION_LINES_MAX),),
        good=(("kopitra/f.py", "def f():\n" + " x = 1\n" * (FUNCTION_LINES_MAX - 1)),),
    ),
    Rule(
        "nesting",
        nesting,
        bad=(
            ("kopitra/f.py", _nested(NESTING_MAX + 1)),
            ("kopitra/f.py", _nested(NESTING_MAX + 1, "async with x:").replace("def", "async def")),
            (
                "kopitra/f.py",
                "def f(x):\n" + _nested(NESTING_MAX + 1).replace("\n", "\n ").replace("def", " def", 1),
            ),
        ),
        good=(
            ("kopitra/f.py", _nested(NESTING_MAX)),
            (
                "kopitra/f.py",
                "def f(x):\n if x: pass\n elif x: pass\n elif x: pass\n elif x: pass\n else: pass\n",
            ),
        ),
    ),
    Rule(
        "module-name",
        module_name,
        bad=(("kopitra/utils.py", ""), ("brokers/_kit/http_helpers.py", ""), ("cli/common/x.py", "")),
        good=(("kopitra/domain/rounding.py", ""), ("kopitra/database.py", "")),
    ),
)
