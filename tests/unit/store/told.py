"""The ear of a lease's holder, for tests of leases."""

import asyncio


class Told:
    """What a holder was told, and when it was."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.event = asyncio.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.event.set()
