"""Which accounts an entry is about: a reader that may see some accounts sees the entries about no other."""

from kopitra.domain.journal import (
    AbsenceProved,
    AlertCleared,
    AlertRaised,
    Doubted,
    DriftNoted,
    EntriesBlocked,
    Entry,
    EquityMarked,
    ExitPending,
    FlattenNoted,
    FollowUp,
    LimitRung,
    OrderNotSent,
    OrderParked,
    PositionDiffers,
    RepairPlanned,
    Reported,
    RequestFailed,
    SignalPlanned,
    StrangerSeen,
    SwitchChanged,
)


def accounts_of(entry: Entry) -> frozenset[str]:
    """Account ids; the unnamed account "" stands for what concerns the whole workspace, so no scoped reader sees it."""
    match entry:
        case SignalPlanned():
            return frozenset(leg.account_id for leg in entry.plan.legs)
        case Reported() | PositionDiffers():
            return frozenset((entry.report.account_id,))
        case DriftNoted():
            return frozenset((entry.drift.account_id,))
        case RepairPlanned():
            return frozenset(step.drift.account_id for step in entry.plan.steps)
        case (
            OrderNotSent()
            | FollowUp()
            | Doubted()
            | AbsenceProved()
            | OrderParked()
            | StrangerSeen()
            | RequestFailed()
            | EntriesBlocked()
            | FlattenNoted()
            | EquityMarked()
            | LimitRung()
            | ExitPending()
            | AlertRaised()
            | AlertCleared()
        ):
            return frozenset((entry.account_id,))
        case SwitchChanged():
            return frozenset((entry.switch.scope_id if entry.switch.scope == "account" else "",))
        case _:
            return frozenset(("",))
