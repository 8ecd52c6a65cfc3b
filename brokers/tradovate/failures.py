"""What a `failureReason` or `rejectReason` says of a command, as data (vendor docs: order schemas).

Only a reason that proves that nothing was placed is definitive; what may be answered after the order went on
is unknown, and so is every word that is not in the table.
"""

from typing import Final

#: our kebab-case reason for each definitive word
DEFINITIVE: Final[dict[str, str]] = {
    "AccountClosed": "account-closed",
    "AdvancedTrailingStopUnsupported": "not-supported",
    "AnotherCommandPending": "another-command-pending",
    "BackMonthProhibited": "contract-not-allowed",
    "ExecutionProviderNotConfigured": "broker-unavailable",
    "ExecutionProviderUnavailable": "broker-unavailable",
    "InvalidContract": "unknown-contract",
    "InvalidPrice": "invalid-price",
    "KeyInformationDocumentRequired": "agreement-required",
    "LiquidationOnly": "liquidation-only",
    "LiquidationOnlyBeforeExpiration": "liquidation-only",
    "MaxOrderQtyIsNotSpecified": "size-limit",
    "MaxOrderQtyLimitReached": "size-limit",
    "MaxPosLimitMisconfigured": "size-limit",
    "MaxPosLimitReached": "size-limit",
    "MaxTotalPosLimitReached": "size-limit",
    "MultipleAccountPlanRequired": "plan-required",
    "NoQuote": "no-quote",
    "NotEnoughLiquidity": "no-liquidity",
    "OtherExecutionRelated": "exchange-rejected",
    "ParentRejected": "parent-rejected",
    "SSFRiskDisclosureAcknowledgmentRequired": "agreement-required",
    "SessionClosed": "market-closed",
    "TooLate": "too-late",
    "TradingLocked": "trading-locked",
    "TrailingStopNonOrderQtyModify": "not-supported",
    "Unauthorized": "not-authorized",
    "Unsupported": "not-supported",
}

#: the risk check or something unnamed failed: the order may live all the same
AMBIGUOUS: Final = frozenset({"RiskCheckTimeout", "UnknownReason"})

SUCCESS: Final = "Success"


def reason_of(word: str | None) -> str:
    """Our word for a reject reason that came with a Rejected status, "" when the table has none."""
    return DEFINITIVE.get(word, "") if word else ""
