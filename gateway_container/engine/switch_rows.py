"""Kill switches on their way into the table that other processes read: one writer per switch, until it stands there.

The journal holds the truth of this process; a standby writes into the table. A change that was made without knowing of
the row that it meets is settled by the stricter of both (`agreed`), in force here and in the table.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway_container.engine.state import State
from kopitra.domain.errors import StoreError
from kopitra.domain.switches import KillSwitch, SwitchScope, agreed, strictness
from kopitra.store.ending import ended
from kopitra.store.shelf import Shelf
from kopitra.store.switches import SwitchRow

#: seconds between two tries to write a switch's row
ROW_RETRY_S: Final = 1.0

Key = tuple[SwitchScope, str]

_log = structlog.get_logger("kopitra.switch_rows")


class SwitchRows:
    """`write` what was thrown here; `takes` says whether a row of another process counts here."""

    def __init__(self, state: State, shelf: Shelf, take: Callable[[str, KillSwitch], None]) -> None:
        self._state = state
        self._shelf = shelf
        #: puts a switch in force and into the journal
        self._take = take
        #: switch -> the newest row that its change here knew of; bounded by the switches that were ever set
        self._unwritten: dict[Key, int] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}  # bounded: likewise

    def write(self, workspace: str, switch: KillSwitch, known: int) -> None:
        """Write it and what follows it, until the table has it. `known`: the epoch that it was made from."""
        key = (switch.scope, switch.scope_id)
        self._unwritten.setdefault(key, known)
        task = self._tasks.get(key)
        if task is None or task.done():
            self._tasks[key] = asyncio.get_running_loop().create_task(self._write(workspace, key))

    async def written(self, switch: KillSwitch, wait_s: float) -> None:
        """Until the table has the switch, or agreed on another; no longer than that."""
        task = self._tasks.get((switch.scope, switch.scope_id))
        if task is not None:
            await asyncio.wait([task], timeout=wait_s)

    def takes(self, row: SwitchRow) -> bool:
        """A newer row counts; one that our own change did not know of, or that is as new, only if it is stricter."""
        known = self._state.book.switches.get(row.scope, row.scope_id)
        if known is None or row.epoch > known.epoch:
            unaware = (row.scope, row.scope_id) in self._unwritten
            return not unaware or strictness(switch_of(row)) > strictness(known)
        same = _change(switch_of(row)) == _change(known)
        return row.epoch == known.epoch and not same and strictness(switch_of(row)) > strictness(known)

    async def stop(self) -> None:
        """No more tries; the journal or the local file has what the rows lack."""
        await ended(list(self._tasks.values()))

    async def _write(self, workspace: str, key: Key) -> None:
        tried: dict[int, KillSwitch] = {}  # bounded: changes of one switch until one of them is written
        while key in self._unwritten and (switch := self._state.book.switches.get(*key)) is not None:
            tried[switch.epoch] = switch
            try:
                stored = await self._stored(workspace, switch, self._unwritten[key])
            except StoreError as error:
                _log.warning("switch_row_not_written", scope=key[0], scope_id=key[1], error=error.code)
                await asyncio.sleep(ROW_RETRY_S)
                continue
            now = self._state.book.switches.get(*key) or switch
            self._unwritten[key] = stored.epoch
            if (mine := tried.get(stored.epoch)) is None or _change(mine) != _change(stored):
                self._agree(workspace, now, stored)
            elif now.epoch == stored.epoch:
                del self._unwritten[key]

    async def _stored(self, workspace: str, switch: KillSwitch, known: int) -> KillSwitch:
        """What stands in the table after the try."""
        row = SwitchRow(
            switch.scope, switch.scope_id, workspace, switch.state, switch.epoch, switch.reason, switch.who,
            self._state.clock.now(),
        )  # fmt: skip
        if await self._shelf.set_switch(row, known):
            return switch
        found = await self._shelf.read_switch(switch.scope, switch.scope_id)
        return switch if found is None else switch_of(found)

    def _agree(self, workspace: str, ours: KillSwitch, theirs: KillSwitch) -> None:
        """Somebody else's change, made without knowing of ours."""
        result = agreed(ours, theirs)
        if result != ours:
            self._take(workspace, result)
        if result.epoch == theirs.epoch:
            del self._unwritten[result.scope, result.scope_id]


def switch_of(row: SwitchRow) -> KillSwitch:
    """A row as the board takes it."""
    return KillSwitch(row.scope, row.scope_id, row.state, row.reason, row.who, row.epoch)


def _change(switch: KillSwitch) -> tuple[object, ...]:
    """What tells one change from another; a row does not say that it is being lifted."""
    return switch.state, switch.reason, switch.who
