"""Contract ids both ways, learned from the broker's list."""

from datetime import date
from decimal import Decimal

import pytest

from brokers.projectx.symbols import ContractBook, Listing
from brokers.projectx.tests.samples import recorded
from brokers.projectx.wire import ContractsReply, read_reply

TODAY = date(2026, 8, 19)


@pytest.fixture
def book() -> ContractBook:
    rows = read_reply(ContractsReply, recorded("rest_contracts")).contracts or []
    book = ContractBook()
    book.learn(Listing(row.id, row.name, row.tick_size, row.tick_value) for row in rows)
    return book


@pytest.mark.parametrize(
    "symbol, contract_id",
    [
        ("NQU6", "CON.F.US.ENQ.U26"),
        ("ESU6", "CON.F.US.EP.U26"),
        ("ESZ6", "CON.F.US.EP.Z26"),
        ("ZNH7", "CON.F.US.TYA.H27"),
        ("ESH0", "CON.F.US.EP.H30"),
        ("ESZ5", "CON.F.US.EP.Z25"),
    ],
)
def test_listed_contracts_and_their_other_months_map_both_ways(
    book: ContractBook, symbol: str, contract_id: str
) -> None:
    assert book.id_of(symbol, TODAY) == contract_id
    assert book.symbol_of(contract_id) == symbol


@pytest.mark.parametrize("symbol", ["MESU6", "QQZ6", "", "ES", "NQU26", "CON.F.US.EP.U26"])
def test_a_root_that_is_not_listed_has_no_id(book: ContractBook, symbol: str) -> None:
    assert book.id_of(symbol, TODAY) is None


@pytest.mark.parametrize("contract_id", ["CON.F.US.MBT.U26", "nonsense", ""])
def test_an_unknown_contract_is_shown_as_it_is(book: ContractBook, contract_id: str) -> None:
    assert book.symbol_of(contract_id) == contract_id


def test_ticks_belong_to_the_product(book: ContractBook) -> None:
    found = book.listing("ESZ6")

    assert found is not None
    assert (found.tick_size, found.point_value) == (Decimal("0.25"), Decimal(50))
    assert book.listing("QQZ6") is None
