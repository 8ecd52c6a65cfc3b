"""An account's share of its login's order connections."""

import pytest

from brokers._kit.shares import Shares, links_for


def test_one_account_never_takes_the_share_of_another() -> None:
    shares = Shares(links=6, accounts=3)
    for _ in range(2):
        assert shares.has_room("a")
        shares.take("a")

    assert not shares.has_room("a")
    assert shares.has_room("b")


def test_who_was_refused_is_told_when_an_answer_comes_and_only_then() -> None:
    shares = Shares(links=2, accounts=2)
    shares.take("a")
    assert not shares.give_back("a")

    shares.take("a")
    assert not shares.has_room("a")
    assert shares.give_back("a")
    assert shares.has_room("a")
    assert not shares.give_back("a")


def test_every_account_may_have_one_in_flight_even_with_fewer_links() -> None:
    shares = Shares(links=1, accounts=4)

    assert shares.has_room("a")
    shares.take("a")
    assert not shares.has_room("a")
    assert shares.has_room("b")


@pytest.mark.parametrize(
    "wanted, accounts, links", [(6, 1, 6), (1, 1, 1), (6, 3, 6), (6, 10, 20), (160, 10, 160)]
)
def test_connections_grow_with_the_accounts(wanted: int, accounts: int, links: int) -> None:
    assert links_for(wanted, accounts) == links
