"""The house as data: its files, what a rule is, and how Python source is asked questions."""

import ast
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

#: rooms that ship
PRODUCT = ("kopitra", "brokers", "gateway_container", "functions", "cli", "function_app.py")


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file; `path` is relative to the house."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.parts[0]

    @property
    def is_test(self) -> bool:
        return "tests" in self.path.parts

    @property
    def is_product(self) -> bool:
        return self.room in PRODUCT and not self.is_test

    def under(self, *globs: str) -> bool:
        return any(self.path.match(glob) or self.path.is_relative_to(glob) for glob in globs)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place where a rule is broken."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A law with its own proof: each of `bad` must be caught, each of `good` must pass.

    Samples are (path, source) because many laws hold in some rooms only.
    """

    name: str
    check: Callable[[Source], Iterator[Finding]]
    bad: tuple[tuple[str, str], ...]
    good: tuple[tuple[str, str], ...] = ()


def sample(path: str, text: str) -> Source:
    """A file that does not exist, for the proofs."""
    return Source(PurePosixPath(path), text, ast.parse(text))


def found(source: Source, node: ast.AST | int, text: str) -> Finding:
    """A finding at a node, or at a line number."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return Finding(str(source.path), line, text)


@cache
def files() -> tuple[PurePosixPath, ...]:
    """Every file that is committed or could be (ignored files are not the house)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(
        sorted(PurePosixPath(name) for name in listed.split("\0") if name and (ROOT / name).is_file())
    )


@cache
def texts() -> dict[PurePosixPath, str]:
    """Every file that reads as UTF-8 text."""
    read: dict[PurePosixPath, str] = {}
    for path in files():
        raw = (ROOT / path).read_bytes()
        if b"\0" not in raw:
            read[path] = raw.decode("utf-8", errors="replace")
    return read


def python_error(text: str) -> str:
    """Why the oldest Python we promise cannot read this; "" if it can."""
    try:
        ast.parse(text, feature_version=(3, 11))
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    return ""


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file that parses; a test of its own names the others."""
    python = ((path, text) for path, text in texts().items() if path.suffix == ".py")
    return tuple(sample(str(path), text) for path, text in python if not python_error(text))


@cache
def walk(source: Source) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(source.tree))


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Absolute imports as (node, dotted module); `from a import b` also counts as `a.b`."""
    for node in walk(source):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def references(source: Source) -> tuple[tuple[ast.expr, str], ...]:
    """Uses of imported names, spelled out: after `import datetime as dt`, `dt.date` is `datetime.date`."""
    full = _imported(source)
    spelled = [(node, _dotted(node)) for node in walk(source) if isinstance(node, ast.Name | ast.Attribute)]
    heads = [(node, *dotted.partition(".")) for node, dotted in spelled]
    return tuple((node, full[head] + dot + rest) for node, head, dot, rest in heads if head in full)


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Calls of imported names, spelled out in the same way."""
    spelled = {id(node): name for node, name in references(source)}
    for node in walk(source):
        if isinstance(node, ast.Call) and id(node.func) in spelled:
            yield node, spelled[id(node.func)]


def annotations(source: Source) -> Iterator[tuple[ast.AST, str, ast.expr]]:
    """Every annotated name: parameters, fields, variables, as (node, name, annotation)."""
    for node in walk(source):
        if isinstance(node, ast.arg) and node.annotation:
            yield node, node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign):
            yield node, _dotted(node.target).rpartition(".")[2], node.annotation


def _imported(source: Source) -> dict[str, str]:
    full: dict[str, str] = {}
    for node in walk(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                full[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return full


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
