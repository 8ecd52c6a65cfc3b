"""Time and chance come in by the front door, so that every run can be played again."""

import ast
from collections.abc import Iterator

from tests.architecture.house import Finding, Rule, Source, calls, found, references, walk

_CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns",
    "time.perf_counter", "time.perf_counter_ns", "time.localtime", "time.gmtime",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
}  # fmt: skip
_SEEDED = {"random.Random"}
_UUIDS = {"uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"}


def clock(source: Source) -> Iterator[Finding]:
    """A file called clock.py is where Clock is implemented; nothing else reads the machine's time."""
    if not source.is_product or source.path.name == "clock.py":
        return
    for node, name in references(source):
        if name in _CLOCKS:
            yield found(source, node, f"{name}: ask the injected Clock")


def chance(source: Source) -> Iterator[Finding]:
    """Keys and tickets come from `secrets`, which is not chance but security."""
    for node, name in references(source):
        module_function = name.startswith("random.") and name not in _SEEDED and name.count(".") == 1
        if module_function or name in _UUIDS:
            yield found(
                source, node, f"{name}: take a random.Random(seed), or derive the id from what it names"
            )


def sleep(source: Source) -> Iterator[Finding]:
    """A thread never sleeps; a test sleeps only between two looks at a condition.

    To see that nothing comes a test must let time pass; it says so: `# absence: why this long is enough`.
    """
    looped, lines = _inside_loops(source), source.text.splitlines()
    for node, name in calls(source):
        absence = "# absence:" in lines[node.lineno - 1]
        polling = source.is_test and (id(node) in looped or absence)
        if name == "time.sleep" and source.room != "bench" and not polling:
            yield found(source, node, "time.sleep stops everything: await, or wait for a condition")
        if name == "asyncio.sleep" and source.is_test and not (polling or _is_zero(node)):
            yield found(source, node, "a test waits for a condition, not for a while")


def _is_zero(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _inside_loops(source: Source) -> set[int]:
    loops = (node for node in walk(source) if isinstance(node, ast.While | ast.For | ast.AsyncFor))
    return {id(inner) for loop in loops for inner in ast.walk(loop)}


RULES = (
    Rule(
        "clock",
        clock,
        bad=(
            ("kopitra/x.py", "import time\nt = time.time()"),
            ("brokers/_kit/x.py", "from time import monotonic_ns as m\nt = m()"),
            ("gateway_container/x.py", "import datetime as dt\nt = dt.datetime.now(dt.UTC)"),
            ("cli/x.py", "from datetime import datetime\nf = datetime.utcnow"),
        ),
        good=(
            ("kopitra/x.py", "def f(clock): return clock.now()"),
            ("gateway_container/clock.py", "import time\nt = time.time_ns()"),
            ("tests/unit/test_x.py", "import time\nt = time.monotonic()"),
            ("kopitra/x.py", "from datetime import datetime, UTC\nt = datetime(2026, 1, 1, tzinfo=UTC)"),
        ),
    ),
    Rule(
        "chance",
        chance,
        bad=(
            ("kopitra/x.py", "import random\nx = random.random()"),
            ("tests/unit/test_x.py", "from random import choice\nx = choice([1])"),
            ("cli/x.py", "import uuid\nx = uuid.uuid4()"),
        ),
        good=(
            ("kopitra/x.py", "import random\nx = random.Random(7).random()"),
            ("kopitra/x.py", "import secrets\nx = secrets.token_bytes(32)"),
            ("kopitra/x.py", "import uuid\nx = uuid.uuid5(uuid.NAMESPACE_URL, 'x')"),
        ),
    ),
    Rule(
        "sleep",
        sleep,
        bad=(
            ("tests/unit/test_x.py", "import asyncio\nasync def test_x():\n await asyncio.sleep(0.1)"),
            ("tests/unit/test_x.py", "from time import sleep\ndef test_x():\n sleep(1)"),
            ("gateway_container/x.py", "import time\ndef f():\n while True: time.sleep(1)"),
        ),
        good=(
            ("tests/unit/test_x.py", "import asyncio\nasync def test_x():\n await asyncio.sleep(0)"),
            (
                "tests/unit/test_x.py",
                "import asyncio\nasync def f(c):\n while not c(): await asyncio.sleep(0.01)",
            ),
            (
                "tests/unit/test_x.py",
                "import asyncio\nasync def f():\n await asyncio.sleep(1)  # absence: two beats",
            ),
            ("brokers/_kit/x.py", "import asyncio\nasync def f():\n await asyncio.sleep(1)"),
        ),
    ),
)
