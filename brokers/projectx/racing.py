"""Several works side by side, of which the first that ends decides."""

import asyncio
from collections.abc import Coroutine


async def race(*works: Coroutine[object, object, None]) -> None:
    """Until one of them returns or raises; the others are canceled, and nothing of them outlives this call.

    Unlike a task group, an error comes out as it is, for the session to classify.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
