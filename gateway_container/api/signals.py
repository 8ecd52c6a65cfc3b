"""POST /trade-agent/v1/signals: the hot path, as a bare ASGI callable.

Order of questions: headers, credential, address, rate, media type, key, body, signature, JSON, fields, first
answer, meaning, decision. Awaits the body and the commit, nothing else. FastAPI only documents this route.
"""

from typing import Final

from starlette.types import Receive, Scope

from gateway_container.api import once as idempotency
from gateway_container.api.admission import Admission, read_body
from gateway_container.api.doors import Doors, KeyGrant
from gateway_container.api.headers import check_json, check_request_id, collect, idempotency_key_of
from gateway_container.api.once import Once
from gateway_container.api.problems import Answer
from gateway_container.api.taking import ACCEPTED, queue, take
from gateway_container.api.trace import Trace
from kopitra.domain.errors import SignalRefused
from kopitra.domain.ids import derived_signal_id
from kopitra.store.drafts import Duplicate
from kopitra.wire.signals import Sender, SignalBody, fingerprint, read_signal, to_domain

SIGNALS_PATH: Final = "/trade-agent/v1/signals"
ENDPOINT: Final = "signals"


class SignalDoor:
    """Answers POST /signals."""

    def __init__(self, doors: Doors, admission: Admission) -> None:
        self._doors = doors
        self._admission = admission

    async def answer(self, scope: Scope, receive: Receive, trace: Trace) -> Answer:
        """The answer to one request. Raises what `problem_of` knows."""
        trace.route = SIGNALS_PATH
        headers = collect(scope)
        check_request_id(headers)
        visit = self._admission.visit(scope, headers, trace.received_ns)
        grant = self._admission.ea(visit)
        trace.known(grant.workspace, grant.key_id)
        check_json(headers)
        key = idempotency_key_of(headers)
        raw = await read_body(receive)
        self._admission.signed(grant, visit, raw, required=grant.require_signature)
        body = read_signal(raw)
        once = Once(grant.workspace, grant.key_id, ENDPOINT, key, fingerprint(grant.account, body))
        answer = idempotency.known(self._doors.intake, once)
        if answer is not None:
            return answer
        self._admission.settle(visit, grant, body.action)
        return await self._decided(body, grant, once, trace)

    async def _decided(self, body: SignalBody, grant: KeyGrant, once: Once, trace: Trace) -> Answer:
        intake = self._doors.intake  # a standby's until the lease is ours
        sender = Sender(grant.workspace, grant.leader, "ea", grant.symbols)
        signal_id = body.signal_id or derived_signal_id(grant.key_id, once.key)
        trace.signal_id = signal_id
        try:
            signal = to_domain(body, sender, trace.received_at, signal_id)
            if (answered := await queue(intake, signal, once)) is not None:
                return answered
            pending = take(intake, signal, once, trace.received_ns)
        except (SignalRefused, Duplicate) as refused:
            return await idempotency.stored(intake, once, refused)
        return await idempotency.settled(pending, once, ACCEPTED)
