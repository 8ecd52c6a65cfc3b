"""Contracts: the vendor's names are the house's (ESZ6), its numeric ids are learnt at run time."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from brokers.tradovate.entities import Contract
from kopitra.domain.instruments import INSTRUMENTS

#: product root, month code, one digit of the year
_CONTRACT: Final = re.compile(r"[A-Z0-9]{1,6}[FGHJKMNQUVXZ][0-9]")
#: contracts; a login sees a few dozen, the rest is refused rather than grown into
CONTRACTS_MAX: Final = 10_000
NAMES_MAX: Final = 4_096  #: symbols whose spelling was checked


@lru_cache(maxsize=NAMES_MAX)
def is_contract(symbol: str) -> bool:
    """True for a name such as ESZ6 or M2KH7: safe to write into JSON as it is."""
    return _CONTRACT.fullmatch(symbol) is not None


@lru_cache(maxsize=NAMES_MAX)
def is_known(symbol: str) -> bool:
    """True for a contract of a product that the house trades; others must be learnt from the broker."""
    return symbol[:-2] in INSTRUMENTS


class ContractBook:
    """Contract id <-> name of one login; both directions are learnt from snapshots, events and lookups."""

    __slots__ = ("_ids", "_names")

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}

    def learn(self, contracts: Iterable[Contract]) -> None:
        """Remember; a full book keeps what it has."""
        for contract in contracts:
            if len(self._names) < CONTRACTS_MAX or contract.id in self._names:
                self._names[contract.id] = contract.name
                self._ids[contract.name] = contract.id

    def name(self, contract_id: int | None) -> str | None:
        """The name, or None when it has to be looked up."""
        return self._names.get(contract_id) if contract_id is not None else None

    def id_of(self, name: str) -> int | None:
        """The id, or None when it has to be looked up."""
        return self._ids.get(name)
