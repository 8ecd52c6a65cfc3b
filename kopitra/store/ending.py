"""Ending tasks for certain.

Until Python 3.12 `asyncio.wait_for`, which psycopg waits with, loses a cancellation that comes in the turn in which
what it waits for is done; a task that loops would then go on for ever, and with it whoever waits for its end.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

#: seconds until a task that is still there is cancelled again
AGAIN_S: Final = 0.2


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended; their errors are their owners'."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_S)
