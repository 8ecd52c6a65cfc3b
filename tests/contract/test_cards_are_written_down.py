"""CONTRACT.md and the suite speak of the same cards, and the suite names no broker."""

import re
from pathlib import Path

from brokers import registry

_HERE = Path(__file__).parent
_LAW = _HERE.parents[1] / "brokers" / "CONTRACT.md"


def test_every_card_has_a_test_and_every_test_a_card() -> None:
    written = re.findall(r"^\| (KC-\d{3}) \|", _LAW.read_text(), re.MULTILINE)
    suite = "".join(path.read_text() for path in _HERE.glob("test_*_cards.py"))

    assert written == sorted(set(written))
    assert set(written) == set(re.findall(r'@card\("(KC-\d{3})"', suite))


def test_the_suite_names_no_broker() -> None:
    for path in (*_HERE.glob("*.py"), _LAW):
        text = path.read_text().lower()
        assert [code for code in registry() if code in text] == [], path.name
