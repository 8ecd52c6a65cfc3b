"""`python -m tests.faults.crash.armed [label]`: the gateway, dying by SIGKILL at one labelled point."""

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import cast

from gateway_container.__main__ import main
from gateway_container.engine import snapshots
from tests.faults.crash.points import Point, When

Wrapped = Callable[..., object]


def arm(point: Point) -> None:
    """Wrap the point's function."""
    module, _, path = point.target.partition(":")
    owner: object = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    found: object = inspect.getattr_static(owner, name)
    inner = getattr(found, "__func__", None)  # of a class method
    if inner is None:
        setattr(owner, name, _dying(cast(Wrapped, found), point))
    else:
        setattr(owner, name, classmethod(_dying(cast(Wrapped, inner), point)))


def _dying(call: Wrapped, point: Point) -> Wrapped:
    calls = 0

    def die_if_due(now: When) -> None:
        """`after` counts the calls that came back."""
        nonlocal calls
        if now == point.when:
            calls += 1
            if calls == point.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(call):
        awaited = cast(Callable[..., Awaitable[object]], call)

        @wraps(call)
        async def slowly(*args: object, **named: object) -> object:
            die_if_due("before")
            result = await awaited(*args, **named)
            die_if_due("after")
            return result

        return slowly

    @wraps(call)
    def at_once(*args: object, **named: object) -> object:
        die_if_due("before")
        result = call(*args, **named)
        die_if_due("after")
        return result

    return at_once


#: journal rows between two snapshots of the book, so that a morning has one, and seconds between two looks
SNAPSHOT_ROWS = 20
SNAPSHOT_LOOK_S = 0.3


if __name__ == "__main__":
    snapshots.EVERY_ROWS = SNAPSHOT_ROWS
    snapshots.LOOK_EVERY_S = SNAPSHOT_LOOK_S
    if len(sys.argv) > 1:
        arm(Point.parse(sys.argv[1]))
    sys.exit(main())
