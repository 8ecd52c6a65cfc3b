"""Where a state machine runs its steps: on virtual time over the store in memory, or on real time over PostgreSQL."""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import ClassVar, Protocol, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.faults.store_rigs import Rig, memory_rig, postgres_rig
from tests.faults.virtual_loop import VirtualLoop
from tests.machines import MACHINE

T = TypeVar("T")


class Host(Protocol):
    """Runs coroutines one after the other on one loop; between two of them nothing moves."""

    def run(self, coro: Coroutine[object, object, T]) -> T: ...
    def rig(self) -> Rig: ...


class MemoryHost:
    """A new store and a new clock for each example."""

    def __init__(self) -> None:
        self._loop = VirtualLoop()

    def run(self, coro: Coroutine[object, object, T]) -> T:
        return self._loop.run_until_complete(coro)

    def rig(self) -> Rig:
        self.end()
        self._loop = VirtualLoop()
        return self.run(AsyncExitStack().enter_async_context(memory_rig()))

    def end(self) -> None:
        """Leave nothing of the last example to the garbage collector."""
        self._loop.close()


class PostgresHost:
    """One loop and one database for all examples: each has names of its own."""

    def __init__(self, runner: asyncio.Runner, rig: Rig) -> None:
        self._runner = runner
        self._rig = rig

    def run(self, coro: Coroutine[object, object, T]) -> T:
        return self._runner.run(coro)

    def rig(self) -> Rig:
        return self._rig


class HostedMachine(RuleBasedStateMachine):
    """A state machine whose steps run on a host."""

    host: ClassVar[Host]


def checked(machine: type[HostedMachine], host: Host, lasting: settings = MACHINE) -> None:
    """Run a machine on a host."""
    run_state_machine_as_test(type(machine.__name__, (machine,), {"host": host}), settings=lasting)


@contextmanager
def memory_host() -> Generator[Host]:
    """A host on virtual time."""
    host = MemoryHost()
    try:
        yield host
    finally:
        host.end()


@contextmanager
def postgres_host(dsn: str) -> Generator[Host]:
    """A host on a database that exists."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        rig = runner.run(stack.enter_async_context(postgres_rig(dsn)))
        try:
            yield PostgresHost(runner, rig)
        finally:
            runner.run(stack.aclose())
