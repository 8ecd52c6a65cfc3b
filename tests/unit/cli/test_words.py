"""Rules in words, and arguments as typed values."""

from decimal import Decimal

import pytest

from cli.rim import Stop
from cli.typed import LIMIT_FIELDS, RULE_FIELDS, changed_limits, changed_rule, limits_from, rule_from
from cli.words import limits_in_words, plain, rule_in_words
from kopitra.domain.copy_rules import CopyRule, MapEntry, Sizing
from kopitra.domain.limits import RiskLimits
from kopitra.store.encoding import encode

EMPTY = CopyRule("lead-f1", 1, "w1", "lead", "f1")


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "1 x leader"),
        ({"sizing.mode": "fixed", "sizing.value": "2"}, "fixed 2"),
        ({"sizing.mode": "risk_from_stop", "sizing.value": "0.5"}, "risk 0.5 % to the stop"),
        ({"symbol_map": "ES:MES:10", "inverse": "true"}, "1 x leader, ES->MES 1:10, inverse"),
        ({"pace": "close_only", "max_position": "4"}, "1 x leader, position <= 4, close only"),
        ({"exclude": "CL,GC", "copy_stop_loss": "false"}, "1 x leader, not CL/GC, no stops"),
    ],
)
def test_a_rule_is_said_in_one_line(given: dict[str, str], words: str) -> None:
    assert rule_in_words(changed_rule(EMPTY, given)) == words


def test_fields_become_typed_values_and_the_others_stay() -> None:
    rule = changed_rule(EMPTY, {"symbol_map": "ES:MES:10,NQ:MNQ", "max_age_s": "5", "strategies": "a, b"})
    assert rule.symbol_map == (MapEntry("ES", "MES", Decimal(10)), MapEntry("NQ", "MNQ", Decimal(1)))
    assert (rule.max_age_s, rule.strategies, rule.sizing) == (Decimal(5), ("a", "b"), Sizing())


def test_a_rule_reads_back_from_what_is_stored() -> None:
    rule = changed_rule(EMPTY, {"symbol_map": "ES:MES:10", "rounding.mode": "half_up"})
    assert rule_from(encode(rule)) == rule


def test_an_empty_value_lifts_a_limit() -> None:
    limits = changed_limits(RiskLimits(), {"daily_loss": "500", "max_order_qty": "2"})
    lifted = changed_limits(limits, {"daily_loss": ""})
    assert (lifted.daily_loss, lifted.max_order_qty) == (None, Decimal(2))
    assert limits_in_words(limits) == "max order qty 2, daily loss 500"
    assert limits_from(encode(lifted)) == lifted


def test_hours_are_given_as_json() -> None:
    limits = changed_limits(
        RiskLimits(), {"allowed_hours": '[{"weekdays":[0,1],"start_minute":510,"end_minute":900}]'}
    )
    assert limits.allowed_hours[0].start_minute == 510
    with pytest.raises(Stop):
        changed_limits(RiskLimits(), {"allowed_hours": "always"})


def test_every_field_of_a_rule_and_of_the_limits_can_be_set() -> None:
    assert {"sizing.value", "delay_ms", "side_filter", "min_order", "include"} <= set(RULE_FIELDS)
    assert {"daily_loss", "price_collar_ticks", "duplicate_window_ms"} <= set(LIMIT_FIELDS)


@pytest.mark.parametrize(
    "number, text", [("10", "10"), ("0.50", "0.5"), ("1E+3", "1000"), ("-2.00", "-2"), ("0", "0")]
)
def test_numbers_are_written_plainly(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
