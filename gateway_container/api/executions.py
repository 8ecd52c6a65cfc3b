"""POST /trade-agent/v1/executions: callbacks of brokers and EAs, once by (account, execId)."""

from datetime import datetime
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway_container.api import once as idempotency
from gateway_container.api.admission import Admission
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.doors import Doors, KeyGrant
from gateway_container.api.edge import arrival_of
from gateway_container.api.guards import EaOnly
from gateway_container.api.headers import idempotency_key_of
from gateway_container.api.once import REPLAYED, Once
from gateway_container.api.problems import Answer, Problem
from kopitra.store.drafts import Duplicate, IdempotencyDraft
from kopitra.wire.executions import ExecutionBody, fingerprint, to_domain
from kopitra.wire.views import ExecutionRecorded

ENDPOINT = "executions"


class Stamped(Protocol):
    """When bytes were read."""

    @property
    def received_at(self) -> datetime: ...
    @property
    def received_ns(self) -> int: ...


RECORDED = b'{"status":"recorded"}'


def router(doors: Doors, admission: Admission) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/trade-agent/v1", tags=["signals"])
    guard = EaOnly(admission, urgent=True)
    read = BodyOf(ExecutionBody)

    @routes.post("/executions", response_model=ExecutionRecorded, openapi_extra=documented(ExecutionBody))
    async def record_execution(request: Request, grant: Annotated[KeyGrant, Depends(guard)]) -> Response:
        """Record one execution report; a repeated one gets the first answer."""
        arrival = arrival_of(request.scope)
        key = idempotency_key_of(arrival.visit.headers)
        raw = await request.body()
        admission.signed(grant, arrival.visit, raw, required=grant.require_signature)
        body = await read(request)
        once = Once(grant.workspace, grant.key_id, ENDPOINT, key, fingerprint(grant.account, body))
        answer = idempotency.known(doors.intake, once)
        if answer is None:
            answer = await record(doors, grant, once, body, arrival.trace)
        return Response(answer.body, answer.status, dict(_text(answer)))

    return routes


async def record(doors: Doors, grant: KeyGrant, once: Once, body: ExecutionBody, trace: Stamped) -> Answer:
    """One report, durable. Raises Problem, BodyRefused, Unavailable or LeaseLost."""
    report = to_domain(body, grant.account, trace.received_at, trace.received_ns)
    draft = IdempotencyDraft(once.principal, once.endpoint, once.key, once.fingerprint, 200, _recorded)
    try:
        pending = doors.executions.record(grant.workspace, grant.account, report, draft)
        return await idempotency.settled(pending, once, 200)
    except KeyError:
        raise Problem("not-found", "This account is not one of the workspace's; register it first.") from None
    except Duplicate:
        return Answer(200, (idempotency.JSON, REPLAYED), RECORDED)


def _recorded(seq: int) -> bytes:
    del seq
    return RECORDED


def _text(answer: Answer) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in answer.headers]
