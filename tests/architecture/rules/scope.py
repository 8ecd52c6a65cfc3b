"""Broker commands that act on every account at once are never used: a flatten means the accounts it names (R-096)."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.house import Finding, Rule, Source, found, walk

#: as one word, whatever stands between its parts
ACCOUNT_WIDE = re.compile(
    r"cancel_?all_?(orders|accounts)|flatten_?everything|close_?all_?(positions|accounts|strategies)|"
    r"liquidate_?(all|positions\b)|flatten_?all_?accounts|exit_?all_?positions|cancel_?everything",
    re.IGNORECASE,
)
_REMEDY = "acts on more than one account and contract: cancel by order, close by account and contract (R-096)"


def account_wide(source: Source) -> Iterator[Finding]:
    if not source.under("brokers", "gateway_container") or source.is_test:
        return
    for node in walk(source):
        text = _word(node)
        if ACCOUNT_WIDE.search(text):
            yield found(source, node, f"{text[:60]!r} {_REMEDY}")


def _word(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Constant(value=bytes(raw)):
            return raw.decode("latin-1")
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name):
            return name
        case _:
            return ""


RULES = (
    Rule(
        "account-wide",
        account_wide,
        bad=(
            ("brokers/toy/codec.py", "LINE = 'CANCELALLORDERS'"),
            ("brokers/toy/codec.py", "LINE = b'FLATTENEVERYTHING;;'"),
            ("brokers/toy/session.py", "def f(api): api.close_all_positions()"),
            ("brokers/toy/session.py", "PATH = 'order/liquidatepositions'"),
            ("gateway_container/engine/x.py", "from x import cancelAllOrders as stop\ncancelAllOrders()"),
        ),
        good=(
            ("brokers/toy/codec.py", "LINE = 'CLOSEPOSITION;Sim101;ES 12-26'"),
            ("brokers/toy/codec.py", "PATH = b'order/liquidateposition'"),
            ("tests/contract/test_x.py", "LINE = 'CANCELALLORDERS'"),
        ),
    ),
)
