"""POST /trade-agent/v1/webhooks/{hookId}: senders that cannot set headers; the path is the credential (S-11).

The key comes from the message: the same message within the hook's window is one signal. A sender that
aborts after three seconds gets its answer before: when the commit takes longer the answer is 503
`commit-pending`, never a 202 that is not durable yet; sending the same message again is safe, because
duplicates are dropped.
"""

import asyncio
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gateway_container.api import once as idempotency
from gateway_container.api.admission import Admission
from gateway_container.api.doors import Doors, HookGrant
from gateway_container.api.edge import Arrival, arrival_of
from gateway_container.api.guards import Open
from gateway_container.api.once import Once
from gateway_container.api.problems import Answer, Problem
from gateway_container.api.taking import ACCEPTED, queue, take
from gateway_container.api.trace import Trace
from gateway_container.api.windows import windows
from kopitra.domain.errors import SignalRefused
from kopitra.domain.ids import derived_signal_id
from kopitra.domain.signals import Signal
from kopitra.store.drafts import Duplicate
from kopitra.wire.signals import Sender, to_domain
from kopitra.wire.views import SignalAccepted
from kopitra.wire.webhooks.reading import HookMessage, read_hook
from kopitra.wire.webhooks.settings import HookSettings, InvalidSettings, parse_settings
from kopitra.wire.webhooks.template import InvalidTemplate

ENDPOINT: Final = "webhooks"
#: seconds; the sender's patience is three
ANSWER_WITHIN_S: Final = 2.5
#: seconds until the same message may be sent again
PENDING_RETRY_S: Final = 2

_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/plain": {"schema": {"type": "string"}, "example": "long NQ q=2 sl=40"},
        },
    }
}


def router(doors: Doors, admission: Admission) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/trade-agent/v1", tags=["signals"])

    @routes.post(
        "/webhooks/{hookId}",
        status_code=ACCEPTED,
        response_model=SignalAccepted,
        openapi_extra=_BODY,
        dependencies=[Depends(Open("hook"))],
    )
    async def post_webhook(request: Request, hook_id: Annotated[str, Path(alias="hookId")]) -> Response:
        """Copy the act that a sender's message tells of; its preset or template reads it."""
        arrival = arrival_of(request.scope)
        grant = admission.hook(arrival.visit, hook_id)
        arrival.trace.known(grant.workspace, f"hook/{grant.hook_id}")
        raw = await request.body()
        admission.signed(grant, arrival.visit, raw, required=bool(grant.signing_secrets))
        answer = await _Hook(doors, admission, grant, arrival).answer(raw)
        return Response(
            answer.body, answer.status, {name.decode(): value.decode() for name, value in answer.headers}
        )

    return routes


class _Keys(NamedTuple):
    """Of one message: its key, those that it would have had in the windows beside, and what names its signal."""

    once: Once
    before: Once | None
    after: Once | None
    name: str


class _Hook:
    """One message of one hook."""

    def __init__(self, doors: Doors, admission: Admission, grant: HookGrant, arrival: Arrival) -> None:
        self._doors = doors
        self._admission = admission
        self._grant = grant
        self._trace: Trace = arrival.trace
        self._visit = arrival.visit

    async def answer(self, raw: bytes) -> Answer:
        grant, trace = self._grant, self._trace
        try:
            settings = parse_settings(grant.settings)
            read = read_hook(grant.preset, grant.template, settings, raw, trace.received_at)
        except (InvalidSettings, InvalidTemplate) as error:
            raise Problem("hook-misconfigured", f"The webhook itself needs mending: {error}") from None
        keys = self._keys(read, settings)
        answer = await self._repeated(keys.once, keys.before, settings)
        if answer is not None:
            return answer
        self._admission.settle(self._visit, grant, read.body.action)
        sender = Sender(grant.workspace, grant.leader, "webhook", settings.symbols)
        signal_id = derived_signal_id(grant.hook_id, keys.name)
        signal = to_domain(read.body, sender, trace.received_at, signal_id)
        trace.signal_id = signal.signal_id
        return await self._take(signal, keys)

    def _keys(self, read: HookMessage, settings: HookSettings) -> _Keys:
        """What makes this message count once; one with an id of its own has one key for ever."""
        grant, digest = self._grant, read.digest.hex()[:40]
        principal = f"hook/{grant.hook_id}"

        def once(key: str) -> Once:
            return Once(grant.workspace, principal, ENDPOINT, key, read.digest)

        at, window_s = self._trace.received_at, settings.duplicate_window_s
        if read.body.signal_id is not None or window_s == 0:
            own = read.body.signal_id
            key = f"id-{own}" if own is not None else f"{digest}-{int(at.timestamp() * 1_000_000)}"
            return _Keys(once(key), None, None, key)
        found = windows(digest, at, window_s)
        return _Keys(once(found.key), once(found.before), once(found.after), found.name)

    async def _repeated(self, once: Once, earlier: Once | None, settings: HookSettings) -> Answer | None:
        """The first answer to the same message. The journal itself refuses the present key twice; the earlier
        one has to be looked up, in the database too, because a restart or another process may lie between.
        """
        answers = self._doors.intake
        answer = idempotency.known(answers, once)
        if answer is not None or earlier is None:
            return answer
        record = answers.first_answer(*earlier[:4]) or await answers.stored_answer(*earlier[:4])
        if record is not None:
            age_s = (self._trace.received_at - record.at).total_seconds()
            return idempotency.replay(record, earlier) if age_s < settings.duplicate_window_s else None
        return idempotency.known(answers, earlier)

    async def _take(self, signal: Signal, keys: _Keys) -> Answer:
        try:
            return await self._taken(signal, keys.once)
        except (SignalRefused, Duplicate) as refused:
            return await self._first(keys, refused)

    async def _first(self, keys: _Keys, refused: SignalRefused | Duplicate) -> Answer:
        """The answer to the copy that came first, perhaps across an edge of the window. Raises Problem while that one
        runs, or `refused` where there was none."""
        intake = self._doors.intake
        beside = (keys.after, keys.before) if isinstance(refused, Duplicate) else ()
        for once in (keys.once, *beside):
            if once is not None and (answer := await idempotency.first(intake, once)) is not None:
                return answer
        raise refused

    async def _taken(self, signal: Signal, once: Once) -> Answer:
        intake = self._doors.intake
        if (answered := await queue(intake, signal, once)) is not None:
            return answered
        pending = take(intake, signal, once, self._trace.received_ns)
        done, _ = await asyncio.wait({pending.committed}, timeout=ANSWER_WITHIN_S)
        if not done:
            raise Problem(
                "commit-pending",
                "The journal is slow and nothing is certain yet; send the message again, it counts once.",
                retry_after_s=PENDING_RETRY_S,
            )
        return await idempotency.settled(pending, once, ACCEPTED)
