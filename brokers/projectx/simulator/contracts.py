"""The contract list that the simulator serves: front and next month of the products the firm lists.

Roots, ticks and descriptions as in the live list of August 2026 (README.md, sources). Fees are per contract
and side; prices are where a fresh simulator starts, and are round numbers, not the market's.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from brokers._kit.matching import Instrument
from kopitra.domain.instruments import MONTH_CODES, Contract, front_month, next_contract

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class Product(NamedTuple):
    """One product: the root inside ids, the exchange's root, its title, ticks, fee and opening price."""

    id_root: str
    root: str
    title: str
    tick_size: str
    tick_value: str
    micro: bool
    opening_price: str


PRODUCTS: Final = (
    Product("EP", "ES", "E-mini S&P 500", "0.25", "12.5", False, "6800"),
    Product("MES", "MES", "Micro E-mini S&P 500", "0.25", "1.25", True, "6800"),
    Product("ENQ", "NQ", "E-mini NASDAQ-100", "0.25", "5", False, "25000"),
    Product("MNQ", "MNQ", "Micro E-mini NASDAQ-100", "0.25", "0.5", True, "25000"),
    Product("RTY", "RTY", "E-mini Russell 2000", "0.1", "5", False, "2500"),
    Product("M2K", "M2K", "Micro E-mini Russell 2000", "0.1", "0.5", True, "2500"),
    Product("YM", "YM", "E-mini Dow", "1", "5", False, "48000"),
    Product("MYM", "MYM", "Micro E-mini Dow", "1", "0.5", True, "48000"),
    Product("CLE", "CL", "Crude Light", "0.01", "10", False, "70"),
    Product("MCLE", "MCL", "Micro Crude Oil", "0.01", "1", True, "70"),
    Product("GCE", "GC", "Gold (Globex)", "0.1", "10", False, "4000"),
    Product("MGC", "MGC", "E-Micro Gold", "0.1", "1", True, "4000"),
    Product("SIE", "SI", "Silver (Globex)", "0.005", "25", False, "50"),
    Product("TYA", "ZN", "10 Year U.S. Treasury Notes", "0.015625", "15.625", False, "110"),
    Product("USA", "ZB", "30 Year U.S. Treasury Bonds", "0.03125", "31.25", False, "115"),
    Product("EU6", "6E", "Euro FX", "0.00005", "6.25", False, "1.15"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A contract as the list shows it."""

    id: str
    name: str
    description: str
    symbol_id: str
    active: bool
    product: Product

    @property
    def instrument(self) -> Instrument:
        """For the matching core, under the name that the other brokers share."""
        fee, commission = ("0.36", "0.25") if self.product.micro else ("1.38", "0.5")
        return Instrument(
            self.name,
            Decimal(self.product.tick_size),
            Decimal(self.product.tick_value),
            Decimal(fee),
            Decimal(commission),
        )


def listed(on: date) -> tuple[Row, ...]:
    """Front month (active) and the one after it of every product."""
    rows: list[Row] = []
    for product in PRODUCTS:
        front = front_month(product.root, on)
        rows += (_row(product, front, active=True), _row(product, next_contract(front), active=False))
    return tuple(rows)


def _row(product: Product, contract: Contract, *, active: bool) -> Row:
    code = MONTH_CODES[contract.month - 1]
    return Row(
        id=f"CON.F.US.{product.id_root}.{code}{contract.year % 100:02}",
        name=contract.symbol,
        description=f"{product.title}: {_MONTHS[contract.month - 1]} {contract.year}",
        symbol_id=f"F.US.{product.id_root}",
        active=active,
        product=product,
    )
