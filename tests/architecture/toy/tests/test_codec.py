"""Toy Town's words are read as they were written."""

from decimal import Decimal
from pathlib import Path

import pytest

from kopitra.ports import AccountLink
from tests.architecture.toy import codec

_ACCOUNTS = (AccountLink("acc-1", "A1", {}),)


def _recorded() -> bytes:
    return (Path(__file__).parents[1] / "recordings" / "filled.json").read_bytes()


def test_a_recorded_fill_is_read() -> None:
    report = codec.report(_recorded(), _ACCOUNTS, received_ns=7)

    assert (report.account_id, report.symbol, report.exec_id) == ("acc-1", "ESZ6", "F1")
    assert (report.last_qty, report.last_px, report.leaves_qty) == (Decimal(2), Decimal("100.25"), Decimal(0))


def test_an_unknown_state_raises() -> None:
    with pytest.raises(KeyError):
        codec.report(_recorded().replace(b"done", b"asleep"), _ACCOUNTS, received_ns=7)
