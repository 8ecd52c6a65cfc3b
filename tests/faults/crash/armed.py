"""`python -m tests.faults.crash.armed [label]`: the gateway, dying by SIGKILL at one labelled point."""

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from gateway_container.__main__ import main
from tests.faults.crash.points import Point

# The function that is wrapped may have any shape: this is the codec's first line of a test harness.
Wrapped = Callable[..., Any]


def arm(point: Point) -> None:
    """Wrap the point's function."""
    module, _, path = point.target.partition(":")
    owner: object = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    found: Any = inspect.getattr_static(owner, name)
    if type(found) is classmethod:
        setattr(owner, name, classmethod(_dying(found.__func__, point)))
    else:
        setattr(owner, name, _dying(found, point))


def _dying(call: Wrapped, point: Point) -> Wrapped:
    calls = 0

    def is_due() -> bool:
        nonlocal calls
        calls += 1
        return calls == point.nth

    if inspect.iscoroutinefunction(call):

        @wraps(call)
        async def slowly(*args: Any, **named: Any) -> Any:
            due = is_due()
            if due and point.when == "before":
                _die()
            result = await call(*args, **named)
            if due:
                _die()
            return result

        return slowly

    @wraps(call)
    def at_once(*args: Any, **named: Any) -> Any:
        due = is_due()
        if due and point.when == "before":
            _die()
        result = call(*args, **named)
        if due:
            _die()
        return result

    return at_once


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        arm(Point.parse(sys.argv[1]))
    sys.exit(main())
