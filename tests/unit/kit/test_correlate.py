import pytest

from brokers._kit.correlate import ExecDedupe, OwnOrders, check_cl_ord_id
from kopitra.domain.ids import CL_ORD_ID_LENGTH_MAX, cl_ord_id

OURS = cl_ord_id("ls1", "acc-1", "entry")


def test_our_ids_fit_every_brokers_field() -> None:
    assert check_cl_ord_id(OURS, CL_ORD_ID_LENGTH_MAX) == OURS


@pytest.mark.parametrize("bad", ["", "kp 1", "kp\n1", "kp;1", "kpé", "k" * 33])
def test_an_id_that_a_broker_would_cut_or_translate_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="client order id"):
        check_cl_ord_id(bad, 32)


def test_an_execution_counts_once_per_account() -> None:
    dedupe = ExecDedupe()
    assert [dedupe.first_time("a", 1), dedupe.first_time("a", 1), dedupe.first_time("b", 1)] == [
        True,
        False,
        True,
    ]


def test_a_full_account_forgets_the_oldest_execution_and_leaves_other_accounts_alone() -> None:
    dedupe = ExecDedupe(per_account_max=3)
    dedupe.first_time("b", "x")
    for exec_id in "1234":
        assert dedupe.first_time("a", exec_id)
    assert [dedupe.first_time("a", exec_id) for exec_id in "234"] == [False, False, False]
    assert dedupe.first_time("a", "1") is True
    assert dedupe.first_time("b", "x") is False


def test_an_order_is_ours_by_prefix_and_afterwards_by_order_id_alone() -> None:
    own = OwnOrders()
    assert own.recognise(42, None) is None
    assert own.recognise(42, OURS) == OURS
    assert own.recognise(42, None) == OURS, "a fill without client id"
    assert own.cl_ord_id_of(42) == OURS


def test_a_foreign_client_id_is_not_ours_unless_the_order_id_is() -> None:
    own = OwnOrders()
    assert own.recognise(7, "tv-1") is None
    own.claim(7, OURS)
    assert own.recognise(7, "tv-1") == OURS


def test_the_order_claimed_first_is_forgotten_first() -> None:
    own = OwnOrders(orders_max=2)
    for order_id in (1, 2, 1, 3):
        own.claim(order_id, f"kp-{order_id}")
    assert [own.cl_ord_id_of(order_id) for order_id in (1, 2, 3)] == ["kp-1", None, "kp-3"]
