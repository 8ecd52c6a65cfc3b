"""What this vendor's wire does beside the faults that every simulator knows; all off by default."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Quirks:
    """`..._next`: the next so many requests (orders, unless said otherwise), then never again."""

    #: events and entities come as arrays
    array_props: bool = False
    #: no `h` frames
    mute_heartbeat: bool = False
    #: events of a command leave before its answer
    events_first: bool = False
    #: a login without deviceId gets 401 on orders
    live_mode: bool = False
    #: the snapshot carries so many bytes of user properties on top
    sync_padding_bytes: int = 0
    #: the array of the snapshot (such as positions) that comes a second after the others
    sync_late: str = ""
    #: seconds between the parts of the snapshot
    sync_pause_s: float = 0.0
    #: the socket dies behind so many parts of the snapshot; 0: it does not
    sync_cut_after: int = 0
    #: a client that is silent for so long is dropped
    client_silence_max_s: float = 10.0
    #: executed, then answered 500
    fail_next: int = 0
    #: executed, then the connection dies before the answer
    hang_up_next: int = 0
    #: executed, and answered with something that is no answer
    garbage_next: int = 0
    #: not executed, answered with a penalty ticket (any POST, logins and snapshots too)
    penalty_next: int = 0
    #: not executed, answered 429 (any request)
    throttle_next: int = 0
    #: not executed, answered 423 (any request)
    soft_lock_next: int = 0
    #: not executed, answered 401
    deny_next: int = 0
    #: not executed and never answered
    swallow_next: int = 0
    #: the next so many fills are told twice
    double_fill_next: int = 0
    #: the next so many order entities are told in a state that no page knows
    odd_state_next: int = 0
    #: the next so many connections are accepted and say nothing
    deaf_next: int = 0

    def with_changes(self, changes: Mapping[str, object]) -> "Quirks":
        """A changed copy; ValueError names an unknown quirk or a wrong type."""
        known = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no quirk {name!r}; known: {', '.join(sorted(known))}")
            number = isinstance(known[name], float) and isinstance(value, int) and not isinstance(value, bool)
            if type(value) is not type(known[name]) and not number:
                raise ValueError(f"quirk {name} takes {type(known[name]).__name__}, not {value!r}")
        return replace(self, **changes)
