"""Everything that can fill up has a named maximum, and numbers say their unit."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.house import Finding, Rule, Source, calls, found, walk

#: constructor -> the keyword that bounds it, and its position
_FILLS_UP = {
    "asyncio.Queue": ("maxsize", 0), "asyncio.LifoQueue": ("maxsize", 0),
    "asyncio.PriorityQueue": ("maxsize", 0), "queue.Queue": ("maxsize", 0), "queue.SimpleQueue": ("", 9),
    "collections.deque": ("maxlen", 1), "functools.lru_cache": ("maxsize", 0),
}  # fmt: skip
_NEEDS_UNIT = re.compile(
    r"(^|_)(timeout|delay|interval|latency|ttl|duration|elapsed|period|backoff)$", re.IGNORECASE
)


def bounded(source: Source) -> Iterator[Finding]:
    """A bound kept elsewhere is said on the line: `# bounded: <by what>`."""
    if not source.is_product:
        return
    lines = source.text.splitlines()
    for node, name in calls(source):
        if name not in _FILLS_UP or _has_bound(node, *_FILLS_UP[name]):
            continue
        if "# bounded:" not in lines[node.lineno - 1]:
            yield found(source, node, f"{name} without a maximum: name one, or say `# bounded: by what`")


def unit(source: Source) -> Iterator[Finding]:
    if not source.is_product:
        return
    lines = ["", *source.text.splitlines()]
    for node, name in _numbers(source):
        said = any("#:" in lines[number] for number in (node.lineno - 1, node.lineno))
        if _NEEDS_UNIT.search(name) and not said:
            yield found(source, node, f"{name} of what? Say the unit: {name}_s, {name}_ms")


def _has_bound(call: ast.Call, keyword: str, position: int) -> bool:
    given = [word.value for word in call.keywords if word.arg == keyword] + call.args[position : position + 1]
    return any(not (isinstance(value, ast.Constant) and value.value in (0, None)) for value in given)


def _numbers(source: Source) -> Iterator[tuple[ast.arg | ast.AnnAssign | ast.Assign, str]]:
    for node in walk(source):
        if isinstance(node, ast.arg | ast.AnnAssign) and _is_number_type(node.annotation):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target).rpartition(".")[2]
            yield node, name
        elif isinstance(node, ast.Assign) and _is_number(node.value):
            yield from ((node, ast.unparse(target).rpartition(".")[2]) for target in node.targets)


def _is_number_type(annotation: ast.expr | None) -> bool:
    return annotation is not None and any(
        isinstance(node, ast.Name) and node.id in {"int", "float"} for node in ast.walk(annotation)
    )


def _is_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float)


RULES = (
    Rule(
        "bounded",
        bounded,
        bad=(
            ("gateway_container/x.py", "import asyncio\nq = asyncio.Queue()"),
            ("gateway_container/x.py", "import asyncio\nq: object = asyncio.Queue(maxsize=0)"),
            ("kopitra/x.py", "from collections import deque\nd = deque([1])"),
            ("kopitra/x.py", "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(x): ..."),
        ),
        good=(
            ("gateway_container/x.py", "import asyncio\nq = asyncio.Queue(QUEUE_ORDERS_MAX)"),
            ("kopitra/x.py", "from collections import deque\nd = deque(maxlen=N)"),
            ("kopitra/x.py", "from collections import deque\nd = deque()  # bounded: admit() refuses past N"),
            ("kopitra/x.py", "from functools import lru_cache\n@lru_cache(maxsize=128)\ndef f(x): ..."),
        ),
    ),
    Rule(
        "unit",
        unit,
        bad=(
            ("kopitra/x.py", "def f(timeout: float): ..."),
            ("kopitra/x.py", "POLL_INTERVAL = 50"),
            ("brokers/_kit/x.py", "class A:\n delay: int | None = None"),
        ),
        good=(
            ("kopitra/x.py", "def f(timeout_s: float, delay: Delay): ..."),
            ("kopitra/x.py", "#: seconds\nPOLL_INTERVAL = 50"),
        ),
    ),
)
