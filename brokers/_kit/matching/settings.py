"""Every knob of a simulator in one frozen value, all off by default, and the seeded dice that draw faults.

The core itself honours ``reject_*``, ``fill_delay_ms``, ``partial_fill_slices``, ``liquidity_qty`` and
``halted_symbols``; all the others belong to the wire faces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from random import Random
from typing import TypeVar, cast

T = TypeVar("T")

DELAY_MS_MAX = 600_000  #: longest delay of any kind, milliseconds (10 minutes)
SLICES_MAX = 1_000  #: most executions one match is split into


@dataclass(frozen=True, slots=True)
class SimSettings:
    """Delays in milliseconds, ratios 0.0 to 1.0 (probability per request or event), windows in seconds."""

    #: between receiving a request and answering it
    ack_delay_ms: int = 0
    #: between a match and its execution, per slice; a cancel can win the race
    fill_delay_ms: int = 0
    #: between something happening and its event leaving on the stream
    event_delay_ms: int = 0
    #: number of executions a match is split into
    partial_fill_slices: int = 1
    #: contracts one match may fill, the rest waits for the next price; 0 = unlimited
    liquidity_qty: int = 0
    #: share of placements refused with reject_text
    reject_ratio: float = 0.0
    reject_text: str = "rejected by simulator setting"
    #: refusals of reject_ratio come after an acceptance, on the stream only
    reject_late: bool = False
    #: request lost before the core sees it
    drop_request_ratio: float = 0.0
    #: request executed, answer lost
    drop_answer_ratio: float = 0.0
    #: request executed, answered with an HTTP 500
    answer_500_after_execute_ratio: float = 0.0
    #: the connection is reset in the middle of an answer
    reset_ratio: float = 0.0
    duplicate_event_ratio: float = 0.0
    reorder_event_ratio: float = 0.0
    drop_event_ratio: float = 0.0
    #: the stream refuses and drops connections
    stream_down: bool = False
    #: heartbeats only: every event is lost
    stream_silent: bool = False
    #: not even heartbeats
    stream_frozen: bool = False
    #: 0 = the broker's own lifetime
    token_ttl_s: int = 0
    #: requests per window and login; 0 = the broker's own limit
    rate_limit_per_window: int = 0
    #: 0 = the broker's own window
    rate_window_s: int = 0
    #: share of requests answered with a penalty ticket, and the wait it asks for
    penalty_ticket_ratio: float = 0.0
    penalty_ticket_s: int = 15
    #: penalty tickets carry the captcha flag
    captcha: bool = False
    #: REST lists show orders, fills and positions this late
    list_visibility_lag_ms: int = 0
    #: concurrent sessions per login; 0 = unlimited
    max_sessions: int = 0
    #: symbols that neither accept orders nor match
    halted_symbols: tuple[str, ...] = ()
    #: every request is answered as during maintenance
    maintenance: bool = False

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check(spec.name, getattr(self, spec.name))

    def with_(self, **changes: object) -> "SimSettings":
        """A changed copy. ValueError names an unknown knob, a wrong type or a value out of range."""
        return self.with_changes(changes)

    def with_changes(self, changes: Mapping[str, object]) -> "SimSettings":
        """As ``with_``, from a mapping such as a JSON object."""
        checked = {name: _coerced(name, value) for name, value in changes.items()}
        return replace(self, **checked)


_DEFAULTS: dict[str, object] = {spec.name: spec.default for spec in fields(SimSettings)}


def _coerced(name: str, value: object) -> object:
    default = _DEFAULTS.get(name)
    if default is None:
        raise ValueError(f"no setting {name!r}; known: {', '.join(sorted(_DEFAULTS))}")
    if name == "halted_symbols" and isinstance(value, list | tuple):
        return tuple(str(item) for item in cast("Sequence[object]", value))
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"setting {name} takes {type(default).__name__}, not {type(value).__name__}")
    return value


def _check(name: str, value: object) -> None:
    if name.endswith("_ratio") and isinstance(value, float) and not 0.0 <= value <= 1.0:
        raise ValueError(f"setting {name} must lie between 0 and 1, not {value}")
    if name.endswith("_ms") and isinstance(value, int) and not 0 <= value <= DELAY_MS_MAX:
        raise ValueError(f"setting {name} must lie between 0 and {DELAY_MS_MAX} ms, not {value}")
    if name == "partial_fill_slices" and isinstance(value, int) and not 1 <= value <= SLICES_MAX:
        raise ValueError(f"setting {name} must lie between 1 and {SLICES_MAX}, not {value}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"setting {name} must not be negative, not {value}")


class FaultDice:
    """Deterministic draws: the same seed and the same questions in the same order give the same faults."""

    __slots__ = ("_random", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = Random(seed)

    def hits(self, ratio: float) -> bool:
        """True with the given probability; 0 and 1 draw nothing, so a knob that is off changes no run."""
        if ratio <= 0.0:
            return False
        return ratio >= 1.0 or self._random.random() < ratio

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order."""
        copy = list(items)
        self._random.shuffle(copy)
        return copy

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self._random.randint(low, high)
