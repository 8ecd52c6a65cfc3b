"""How rude a broker is: rates and delays of one seed, all off by default (H-3, H-5)."""

from dataclasses import dataclass
from typing import Final

#: seconds after which a session no longer waits for the answer to an order
ANSWER_WAIT_S: Final = 2.5
#: milliseconds by which lists lag behind at most, as a contract card would have measured it
LAG_MAX_MS: Final = 3_000


@dataclass(frozen=True, slots=True)
class Manners:
    """Ratios are probabilities per request, answer, event or read; delays are means of an exponential draw."""

    #: seconds of one way through the network
    delay_s: float = 0.005
    #: seconds, the longest a draw may be
    delay_max_s: float = 0.05
    #: the request never arrives
    lose_request: float = 0.0
    #: it was carried out, and the answer never arrives
    lose_answer: float = 0.0
    #: answered by an error of the server; every second time it was carried out all the same
    server_error: float = 0.0
    #: refused for too many requests, and nothing may be sent for `penalty_s`
    penalty: float = 0.0
    penalty_s: float = 3.0
    #: refused for no good reason; half of them after they had been accepted
    reject: float = 0.0
    drop_event: float = 0.0
    duplicate_event: float = 0.0
    reorder_event: float = 0.0
    #: a read of an account fails, or tells a part only
    bad_read: float = 0.0
    #: seconds by which lists are behind what happened
    lag_s: float = 0.0
    #: executions that one match is split into, and milliseconds between them
    slices: int = 1
    fill_delay_ms: int = 0
    #: contracts that one price has to offer; 0 = as many as wanted
    liquidity_qty: int = 0
    #: requests that may be under way at once for one login; 0 = any number
    in_flight_max: int = 0
    #: requests in ten seconds before the session itself says no; 0 = any number
    budget: int = 0


POLITE: Final = Manners()
