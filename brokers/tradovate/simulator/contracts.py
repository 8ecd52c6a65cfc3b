"""What the simulated firm lists: front and next month of sixteen products, with prices to start from."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from brokers._kit.matching import Instrument
from kopitra.domain.instruments import INSTRUMENTS, front_month, next_contract

FIRST_CONTRACT_ID: Final = 3_570_918
#: round numbers to begin with, not the market's
_PRICES: Final = {
    "ES": "6800", "MES": "6800", "NQ": "25000", "MNQ": "25000", "RTY": "2500", "M2K": "2500",
    "YM": "48000", "MYM": "48000", "CL": "70", "MCL": "70", "GC": "4000", "MGC": "4000", "SI": "50",
    "ZN": "110", "ZB": "115", "6E": "1.15",
}  # fmt: skip


class Listed(NamedTuple):
    """One contract of the list."""

    id: int
    name: str
    instrument: Instrument
    price: Decimal


def listed(on: date) -> Iterator[Listed]:
    """Front and next month, ids ascending."""
    contract_id = FIRST_CONTRACT_ID
    for root, price in _PRICES.items():
        product = INSTRUMENTS[root]
        front = front_month(root, on)
        for contract in (front, next_contract(front)):
            instrument = Instrument(contract.symbol, product.tick_size, product.tick_value)
            yield Listed(contract_id, contract.symbol, instrument, Decimal(price))
            contract_id += 1
