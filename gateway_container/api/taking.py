"""From a door to the intake, and the answer that comes back with the commit."""

from gateway_container.api.doors import Intake, PendingSignal
from gateway_container.api.once import Once
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


def take(intake: Intake, signal: Signal, once: Once, received_ns: int) -> PendingSignal:
    """Hand a signal to the intake with the answer it will have. Raises what `Intake.accept` raises."""

    def answer(plan: FanoutPlan) -> IdempotencyDraft:
        body = AcceptedBody(signal.signal_id, plan)
        return IdempotencyDraft(once.principal, once.endpoint, once.key, once.fingerprint, ACCEPTED, body)

    return intake.accept(signal, answer, received_ns)
