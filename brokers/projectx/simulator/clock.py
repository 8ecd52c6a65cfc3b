"""The simulator's own time: it is another party, so it does not share the gateway's clock."""

import time


def wall_ns() -> int:
    """Nanoseconds since 1970, UTC."""
    return time.time_ns()
