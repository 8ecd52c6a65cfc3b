"""The record of the cards: what each broker proved, in .kopitra/contract-cards.json."""

from collections import defaultdict
from pathlib import Path
from typing import Final

import msgspec

from kopitra.ports import BrokerAdapter, Capabilities

PATH: Final = Path(__file__).parents[2] / ".kopitra" / "contract-cards.json"


class Proof(msgspec.Struct):
    """One broker: its claims, and by card `passed`, `failed` or `skipped` (not claimed)."""

    capabilities: Capabilities
    cards: dict[str, str] = {}


#: broker -> card -> outcomes of its tests in this run
_outcomes: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))


def note(broker: str, card: str, outcome: str) -> None:
    """One test of a card has ended."""
    _outcomes[broker][card].add(outcome)


def write(brokers: dict[str, BrokerAdapter], path: Path = PATH) -> None:
    """Add this run's outcomes to the record; cards that did not run keep their last one."""
    if not _outcomes:
        return
    known = _read(path)
    proofs: dict[str, Proof] = {}
    for code, adapter in brokers.items():
        before = known[code].cards if code in known else {}
        found = {number: _verdict(outcomes) for number, outcomes in _outcomes[code].items()}
        proofs[code] = Proof(adapter.capabilities, dict(sorted({**before, **found}.items())))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(proofs, order="sorted"), indent=1) + b"\n")


def _read(path: Path) -> dict[str, Proof]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Proof])
    except (OSError, msgspec.MsgspecError):
        return {}


def _verdict(outcomes: set[str]) -> str:
    return "failed" if "failed" in outcomes else "passed" if "passed" in outcomes else "skipped"
