"""The table of futures Kopitra knows: CME Group contract specifications, read November 2026.

Rows are grouped by what their members share. To add a product, add a row; `instruments.py` builds the
public `INSTRUMENTS` from here. Prices are quoted as CME and the brokers quote them in decimal: notes and
bonds in points (1/64 = 0.015625), grains in cents, currencies in dollars per unit.
"""

from typing import Literal, NamedTuple

from kopitra.domain import calendar
from kopitra.domain.calendar import DateRule, earlier

Exchange = Literal["CME", "CBOT", "NYMEX", "COMEX"]

QUARTERS = "HMUZ"
EVERY_MONTH = "FGHJKMNQUVXZ"

_ROLL_MARGIN_DAYS = 3  #: business days between roll and last trading day where CME names no custom


class Line(NamedTuple):
    """What the products of one group share."""

    exchange: Exchange
    months: str  #: month codes that lead in turn (the liquid cycle)
    listed: str  #: month codes for which contracts exist
    expiry_rule: DateRule
    roll_rule: DateRule


class Row(NamedTuple):
    """One product."""

    root: str
    title: str
    tick_size: str
    tick_value: str  #: US dollars
    family: str
    units_per_family: str  #: size relative to the family's reference contract


_CURRENCY_ROLL = earlier(calendar.currency, _ROLL_MARGIN_DAYS)
_CRUDE_ROLL = earlier(calendar.crude_oil, _ROLL_MARGIN_DAYS)
_GAS_ROLL = earlier(calendar.natural_gas, _ROLL_MARGIN_DAYS)
_DELIVERY_ROLL = calendar.roll_before_delivery

TABLE: tuple[tuple[Line, tuple[Row, ...]], ...] = (
    (
        Line("CME", QUARTERS, QUARTERS, calendar.third_friday, calendar.equity_roll),
        (
            Row("ES", "E-mini S&P 500", "0.25", "12.50", "ES", "1"),
            Row("MES", "Micro E-mini S&P 500", "0.25", "1.25", "ES", "0.1"),
            Row("NQ", "E-mini Nasdaq-100", "0.25", "5.00", "NQ", "1"),
            Row("MNQ", "Micro E-mini Nasdaq-100", "0.25", "0.50", "NQ", "0.1"),
            Row("RTY", "E-mini Russell 2000", "0.10", "5.00", "RTY", "1"),
            Row("M2K", "Micro E-mini Russell 2000", "0.10", "0.50", "RTY", "0.1"),
        ),
    ),
    (
        Line("CBOT", QUARTERS, QUARTERS, calendar.third_friday, calendar.equity_roll),
        (
            Row("YM", "E-mini Dow", "1", "5.00", "YM", "1"),
            Row("MYM", "Micro E-mini Dow", "1", "0.50", "YM", "0.1"),
        ),
    ),
    (
        Line("CME", QUARTERS, QUARTERS, calendar.nikkei, earlier(calendar.nikkei, _ROLL_MARGIN_DAYS)),
        (Row("NKD", "Nikkei 225 (dollar)", "5", "25.00", "NKD", "1"),),
    ),
    (
        Line("NYMEX", EVERY_MONTH, EVERY_MONTH, calendar.crude_oil, _CRUDE_ROLL),
        (Row("CL", "Crude Oil (WTI)", "0.01", "10.00", "CL", "1"),),
    ),
    (  # cash settled one business day before CL ends; they roll with it
        Line("NYMEX", EVERY_MONTH, EVERY_MONTH, earlier(calendar.crude_oil, 1), _CRUDE_ROLL),
        (
            Row("QM", "E-mini Crude Oil", "0.025", "12.50", "CL", "0.5"),
            Row("MCL", "Micro WTI Crude Oil", "0.01", "1.00", "CL", "0.1"),
        ),
    ),
    (
        Line("NYMEX", EVERY_MONTH, EVERY_MONTH, calendar.natural_gas, _GAS_ROLL),
        (Row("NG", "Henry Hub Natural Gas", "0.001", "10.00", "NG", "1"),),
    ),
    (  # cash settled one business day before NG ends; they roll with it
        Line("NYMEX", EVERY_MONTH, EVERY_MONTH, earlier(calendar.natural_gas, 1), _GAS_ROLL),
        (
            Row("QG", "E-mini Natural Gas", "0.005", "12.50", "NG", "0.25"),
            Row("MNG", "Micro Henry Hub Natural Gas", "0.001", "1.00", "NG", "0.1"),
        ),
    ),
    (
        Line("NYMEX", EVERY_MONTH, EVERY_MONTH, calendar.last_business_day_before_month, _DELIVERY_ROLL),
        (
            Row("RB", "RBOB Gasoline", "0.0001", "4.20", "RB", "1"),
            Row("HO", "NY Harbor ULSD", "0.0001", "4.20", "HO", "1"),
        ),
    ),
    (  # October is listed but trading goes from August straight to December
        Line("COMEX", "GJMQZ", EVERY_MONTH, calendar.third_last_business_day, _DELIVERY_ROLL),
        (
            Row("GC", "Gold", "0.10", "10.00", "GC", "1"),
            Row("MGC", "Micro Gold", "0.10", "1.00", "GC", "0.1"),
        ),
    ),
    (
        Line("COMEX", "HKNUZ", EVERY_MONTH, calendar.third_last_business_day, _DELIVERY_ROLL),
        (
            Row("SI", "Silver", "0.005", "25.00", "SI", "1"),
            Row("SIL", "Micro Silver", "0.005", "5.00", "SI", "0.2"),
            Row("HG", "Copper", "0.0005", "12.50", "HG", "1"),
        ),
    ),
    (  # cash settled on the third last business day of the month before
        Line("COMEX", "HKNUZ", EVERY_MONTH, calendar.natural_gas, _DELIVERY_ROLL),
        (Row("MHG", "Micro Copper", "0.0005", "1.25", "HG", "0.1"),),
    ),
    (
        Line("NYMEX", "FJNV", EVERY_MONTH, calendar.third_last_business_day, _DELIVERY_ROLL),
        (Row("PL", "Platinum", "0.10", "5.00", "PL", "1"),),
    ),
    (
        Line("CBOT", QUARTERS, QUARTERS, calendar.seventh_before_last_business_day, _DELIVERY_ROLL),
        (
            Row("ZN", "10-Year T-Note", "0.015625", "15.625", "ZN", "1"),
            Row("TN", "Ultra 10-Year T-Note", "0.015625", "15.625", "TN", "1"),
            Row("ZB", "U.S. Treasury Bond", "0.03125", "31.25", "ZB", "1"),
            Row("UB", "Ultra U.S. Treasury Bond", "0.03125", "31.25", "UB", "1"),
        ),
    ),
    (
        Line("CBOT", QUARTERS, QUARTERS, calendar.last_business_day, _DELIVERY_ROLL),
        (
            Row("ZF", "5-Year T-Note", "0.0078125", "7.8125", "ZF", "1"),
            Row("ZT", "2-Year T-Note", "0.00390625", "7.8125", "ZT", "1"),
        ),
    ),
    (
        Line("CME", QUARTERS, EVERY_MONTH, calendar.currency, _CURRENCY_ROLL),
        (
            Row("6E", "Euro FX", "0.00005", "6.25", "6E", "1"),
            Row("E7", "E-mini Euro FX", "0.0001", "6.25", "6E", "0.5"),
            Row("M6E", "Micro EUR/USD", "0.0001", "1.25", "6E", "0.1"),
            Row("6J", "Japanese Yen", "0.0000005", "6.25", "6J", "1"),
            Row("6B", "British Pound", "0.0001", "6.25", "6B", "1"),
            Row("M6B", "Micro GBP/USD", "0.0001", "0.625", "6B", "0.1"),
            Row("6A", "Australian Dollar", "0.00005", "5.00", "6A", "1"),
            Row("M6A", "Micro AUD/USD", "0.0001", "1.00", "6A", "0.1"),
            Row("6S", "Swiss Franc", "0.00005", "6.25", "6S", "1"),
            Row("6N", "New Zealand Dollar", "0.00005", "5.00", "6N", "1"),
            Row("6M", "Mexican Peso", "0.00001", "5.00", "6M", "1"),
        ),
    ),
    (
        Line("CME", QUARTERS, EVERY_MONTH, calendar.canadian_dollar, _CURRENCY_ROLL),
        (Row("6C", "Canadian Dollar", "0.00005", "5.00", "6C", "1"),),
    ),
    (
        Line(
            "CME",
            EVERY_MONTH,
            EVERY_MONTH,
            calendar.last_friday,
            earlier(calendar.last_friday, _ROLL_MARGIN_DAYS),
        ),
        (
            Row("BTC", "Bitcoin", "5", "25.00", "BTC", "1"),
            Row("MBT", "Micro Bitcoin", "5", "0.50", "BTC", "0.02"),
            Row("ETH", "Ether", "0.50", "25.00", "ETH", "1"),
            Row("MET", "Micro Ether", "0.50", "0.05", "ETH", "0.002"),
        ),
    ),
    (
        Line("CBOT", "HKNUZ", "HKNUZ", calendar.before_the_fifteenth, _DELIVERY_ROLL),
        (
            Row("ZC", "Corn", "0.25", "12.50", "ZC", "1"),
            Row("ZW", "Chicago SRW Wheat", "0.25", "12.50", "ZW", "1"),
        ),
    ),
    (  # August, September and October are listed but thin: July hands over to the new crop
        Line("CBOT", "FHKNX", "FHKNQUX", calendar.before_the_fifteenth, _DELIVERY_ROLL),
        (Row("ZS", "Soybeans", "0.25", "12.50", "ZS", "1"),),
    ),
    (
        Line("CBOT", "FHKNZ", "FHKNQUVZ", calendar.before_the_fifteenth, _DELIVERY_ROLL),
        (
            Row("ZL", "Soybean Oil", "0.01", "6.00", "ZL", "1"),
            Row("ZM", "Soybean Meal", "0.10", "10.00", "ZM", "1"),
        ),
    ),
)
