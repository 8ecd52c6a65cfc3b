"""What the holder of a shard says of its right to write (R-076), and when it ends (R-073): all from memory."""

from typing import TYPE_CHECKING, Final

import structlog

from gateway_container.engine.state import NEVER_NS
from kopitra.domain.journal import AlertRaised
from kopitra.wire.views import JournalHealth

if TYPE_CHECKING:
    from gateway_container.engine.machine import Machine

_NS_PER_MS: Final = 1_000_000

_log = structlog.get_logger("kopitra.lease")


def journal_health(machine: "Machine") -> JournalHealth:
    """One look."""
    state, lease = machine.state, machine.lease
    now_ns = state.clock.monotonic_ns()
    oldest_ns = machine.lookup.oldest_ns()
    return JournalHealth(
        writable=machine.log.takes_decisions,
        lease_left_ms=(lease.valid_until_ns - now_ns) // _NS_PER_MS,
        exits_left_ms=(lease.exits_until_ns - now_ns) // _NS_PER_MS,
        switches_good_ms=(
            None if state.switches_until_ns == NEVER_NS else (state.switches_until_ns - now_ns) // _NS_PER_MS
        ),
        backlog=machine.log.backlog,
        exits_waiting=machine.exits.waiting,
        projections_behind=machine.projector.lag_rows,
        in_doubt=sum(child.state == "in_doubt" for child in state.book.doubts.values()),
        oldest_in_doubt_ms=None if oldest_ns is None else (now_ns - oldest_ns) // _NS_PER_MS,
    )


def page(machine: "Machine", reason: str) -> None:
    """This process may write nothing any more: a person must know what is left open. The journal hears of it from
    the local exit file, at the next start that can read it."""
    held = sorted({account for (account, _), p in machine.state.book.positions.items() if p.qty})
    text = f"{reason}: nothing is written any more, resting orders stay; open at {', '.join(held) or 'no account'}"
    machine.exits.last_word(AlertRaised("exits-stopped", text))
    _log.critical("exits_stopped", reason=reason, accounts=held)
