"""How large each load is. What was used stands beside every figure."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """One set of sizes; seconds unless a name says otherwise."""

    eas: int  #: L-1 and L-6: connections, each with a key of its own
    beat_every_s: float
    idle_s: float  #: L-1
    reconnect_s: float  #: L-6: the connections come back spread over this time
    burst: int  #: L-4: signals within one second
    settle_s: float  #: L-4: memory is looked at so long after the burst was over
    rate_s: float  #: L-2: the run that counts
    probe_s: float  #: L-2: each rate that is tried
    stall_s: float  #: L-5: one run
    stall_rounds: int
    desk_s: float  #: L-3
    accounts: int  #: L-9
    resting: int  #: L-9: open orders of each account
    doubts: int  #: L-9


#: `tiny` proves that the parts work, `bench` fits `make bench`, `full` is what the goals ask for
SIZES: Final[dict[str, Sizes]] = {
    "tiny": Sizes(
        eas=20, beat_every_s=0.5, idle_s=2, reconnect_s=1, burst=20, settle_s=1, rate_s=3, probe_s=1,
        stall_s=1, stall_rounds=1, desk_s=6, accounts=4, resting=2, doubts=2,
    ),
    "bench": Sizes(
        eas=1000, beat_every_s=5, idle_s=10, reconnect_s=10, burst=1000, settle_s=5, rate_s=20, probe_s=5,
        stall_s=2, stall_rounds=3, desk_s=24, accounts=200, resting=10, doubts=50,
    ),
    "full": Sizes(
        eas=1000, beat_every_s=5, idle_s=300, reconnect_s=10, burst=1000, settle_s=60, rate_s=600, probe_s=60,
        stall_s=60, stall_rounds=5, desk_s=600, accounts=200, resting=10, doubts=50,
    ),
}  # fmt: skip
