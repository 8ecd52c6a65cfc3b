"""From a door to the intake, and the answer that comes back with the commit."""

from collections.abc import Callable

from gateway_container.api.doors import Intake, Pending
from gateway_container.api.once import Once, known
from gateway_container.api.problems import Answer
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.signals import Signal
from kopitra.store.drafts import IdempotencyDraft

#: 202: the signal and its plan are durable
ACCEPTED = 202


class AcceptedBody:
    """Makes the 202 body once the journal knows the row's number."""

    __slots__ = ("plan", "signal_id")

    def __init__(self, signal_id: str, plan: FanoutPlan) -> None:
        self.signal_id = signal_id
        self.plan = plan

    def __call__(self, seq: int) -> bytes:
        approved = skipped = refused = 0
        for leg in self.plan.legs:
            match leg.outcome:
                case "approved":
                    approved += 1
                case "skipped":
                    skipped += 1
                case "refused":
                    refused += 1
        # Both ids are of an alphabet that JSON takes as it is (IdText).
        return (
            f'{{"status":"accepted","signalId":"{self.signal_id}","sequence":{seq},"listId":"{self.plan.list_id}",'
            f'"copies":{{"approved":{approved},"skipped":{skipped},"refused":{refused}}}}}'
        ).encode()


class FirstAnswer:
    """The first answer to a signal: what its plan says, or that the plan is another process's to make."""

    __slots__ = ("_once", "_signal_id")

    def __init__(self, once: Once, signal_id: str) -> None:
        self._once = once
        self._signal_id = signal_id

    def __call__(self, plan: FanoutPlan) -> IdempotencyDraft:
        return self._draft(AcceptedBody(self._signal_id, plan))

    def queued(self) -> IdempotencyDraft:
        """Durable, and planned by the holder of the shard."""
        body = f'{{"status":"queued","signalId":"{self._signal_id}"}}'.encode()
        return self._draft(lambda _seq: body)

    def _draft(self, body: Callable[[int], bytes]) -> IdempotencyDraft:
        once = self._once
        return IdempotencyDraft(once.principal, once.endpoint, once.key, once.fingerprint, ACCEPTED, body)


async def queue(intake: Intake, signal: Signal, once: Once) -> Answer | None:
    """Wait for the numbers before it and, unless it closes something, for room. Raises QueueFull or SignalRefused.

    The first answer when the same call was answered while this one waited.
    """
    if signal.sequence is not None:
        await intake.turn(signal)
    elif not intake.must_wait(signal):
        return None
    if intake.must_wait(signal):
        await intake.room(signal)
    return known(intake, once)


def take(intake: Intake, signal: Signal, once: Once, received_ns: int) -> Pending:
    """Hand a signal to the intake with the answer it will have. Raises what `Intake.accept` raises."""
    return intake.accept(signal, FirstAnswer(once, signal.signal_id), received_ns)
