"""Looking up what is in doubt: the broker is asked, again and again, more and more slowly; nothing is sent twice.

What a read shows goes the way of every snapshot. A read that does not show an order proves nothing by itself, so
the doubt stays until evidence comes or a person decides; entries of that contract wait, exits go on.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot

#: seconds before each read; the last one repeats
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: reads after which a person is told that the order cannot be found
TELL_AFTER_READS: Final = 5
#: how far back a read asks for executions
LOOK_BACK: Final = timedelta(hours=24)


class Lookup:
    """One task per account that has an order in doubt."""

    def __init__(
        self,
        state: State,
        sessions: Sessions,
        sink: Callable[[AccountSnapshot], None],
        alert: Callable[[str, str, str, str], None],
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._sink = sink
        self._alert = alert
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def ask(self, account_id: str) -> None:
        """An order of the account is in doubt; safe to repeat."""
        if account_id in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._run(account_id), name=f"lookup {account_id}")
        self._tasks[account_id] = task
        task.add_done_callback(lambda _done: self._tasks.pop(account_id, None))

    def ask_all(self) -> None:
        """After a start."""
        for account_id, _ in list(self._state.book.open):
            if self._doubtful(account_id):
                self.ask(account_id)

    def _doubtful(self, account_id: str) -> list[str]:
        return [
            name
            for (owner, _), children in self._state.book.open.items()
            if owner == account_id
            for name, child in children.items()
            if child.state == "in_doubt"
        ]

    async def _run(self, account_id: str) -> None:
        reads = attempt = 0
        while self._doubtful(account_id):
            await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
            attempt += 1
            reads += await self._read(account_id)
            if reads == TELL_AFTER_READS:
                reads += 1
                for name in self._doubtful(account_id):
                    text = f"{name} is in none of {TELL_AFTER_READS} reads: look at the broker's own screen"
                    self._alert("order-not-found", text, account_id, name)

    async def _read(self, account_id: str) -> int:
        """1 when the broker told its orders, else 0."""
        session = self._sessions.of(account_id)
        if session is None or session.state != "live":
            return 0
        try:
            snapshot = await session.snapshot(account_id, self._state.clock.now() - LOOK_BACK)
        except (KopitraError, OSError, TimeoutError, KeyError):
            return 0  # a failed read is no evidence
        self._sink(snapshot)
        return int(snapshot.orders is not None)

    async def stop(self) -> None:
        """Ask no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
