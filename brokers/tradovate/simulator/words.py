"""The simulated firm's words: why it refuses, as `failureReason` and text."""

from typing import Final

from brokers._kit.matching import RejectReason

_WORDS: Final[dict[RejectReason, str]] = {
    "account_rejected": "Unauthorized",
    "bad_price": "InvalidPrice",
    "bad_qty": "Unsupported",
    "brackets_refused": "Unsupported",
    "duplicate_tag": "Unsupported",
    "halted": "SessionClosed",
    "injected": "OtherExecutionRelated",
    "invalid_close_size": "OtherExecutionRelated",
    "liquidation_only": "LiquidationOnly",
    "max_position": "MaxPosLimitReached",
    "no_quote": "NoQuote",
    "off_tick": "InvalidPrice",
    "other": "OtherExecutionRelated",
    "parent_rejected": "ParentRejected",
    "position_not_found": "OtherExecutionRelated",
    "too_late": "TooLate",
    "trading_locked": "TradingLocked",
    "unknown_account": "Unauthorized",
    "unknown_order": "OtherExecutionRelated",
    "unknown_symbol": "InvalidContract",
    "wrong_side_stop": "InvalidPrice",
}


def reason_word(reason: RejectReason, text: str) -> tuple[str, str]:
    """(failureReason, failureText). An injected text such as "RiskCheckTimeout: slow" brings its own word."""
    word, colon, rest = text.partition(": ")
    if reason == "injected" and colon and word.isalpha() and word[0].isupper():
        return word, rest
    return _WORDS[reason], text
