"""/trade-agent/v1/sessions: an EA's lease, what it tells (inbox) and what it is told (outbox)."""

import hmac
import json
from hashlib import sha256
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from gateway_container.api import link
from gateway_container.api.admission import Admission, Visit
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.credentials import EaVisit, bearer_of
from gateway_container.api.doors import Doors, KeyGrant
from gateway_container.api.ea_door import EaSession
from gateway_container.api.edge import Arrival, arrival_of
from gateway_container.api.guards import EaOnly, Open, SessionOnly
from gateway_container.api.headers import check_json, idempotency_key_of
from gateway_container.api.inbox import Arrived, Inbox, Taking
from gateway_container.api.problems import Problem
from kopitra.domain.ea_sessions import OutEvent
from kopitra.domain.errors import Conflict
from kopitra.domain.signals import EXITS, Action
from kopitra.store.ea_sessions import SessionDraft, SessionRow
from kopitra.store.encoding import encode
from kopitra.wire.ea_sessions import (
    InboxAccepted,
    InboxBody,
    OutboxView,
    OutEventView,
    SessionBody,
    SessionOpened,
)
from kopitra.wire.scalars import SEQUENCE_MAX
from kopitra.wire.strict_json import decode_object

#: seconds of a long poll
WAIT_MAX_S: Final = 25
#: milliseconds after which a terminal that does not long-poll should ask again
ASK_AGAIN_MS: Final = 1_000
#: hex digits of a session's id
_ID_DIGITS: Final = 32
_JSON: Final = "application/json"


def router(doors: Doors, admission: Admission) -> APIRouter:
    """The routes and the link."""
    routes = APIRouter(prefix="/trade-agent/v1", tags=["sessions"])
    inbox = Inbox(doors, admission)
    _lease_routes(routes, doors, admission)
    _event_routes(routes, doors, admission, inbox)

    @routes.websocket("/link", dependencies=[Depends(Open("session"))])
    async def link_session(socket: WebSocket) -> None:
        await link.serve(socket, doors, admission, inbox)

    return routes


def _lease_routes(routes: APIRouter, doors: Doors, admission: Admission) -> None:
    by_key, by_token = EaOnly(admission), SessionOnly(admission, ended=True)
    read = BodyOf(SessionBody)

    @routes.post(
        "/sessions", status_code=201, response_model=SessionOpened, openapi_extra=documented(SessionBody)
    )
    async def open_session(request: Request, grant: Annotated[KeyGrant, Depends(by_key)]) -> Response:
        """Open a session; the one that the key had open ends. The same request again gets the same session."""
        arrival = arrival_of(request.scope)
        key = idempotency_key_of(arrival.visit.headers)
        admission.signed(grant, arrival.visit, await request.body(), required=grant.require_signature)
        body = await read(request)
        secret = _proved(admission, arrival.visit, grant, body)
        token = hmac.new(secret, f"{grant.key_id}\x1f{key}".encode(), sha256).hexdigest()
        try:
            row = await doors.ea.open(_draft(grant, key, token, body))
        except Conflict as error:
            raise Problem("session-contested", error.message, retry_after_s=1) from None
        if row.fingerprint != _fingerprint(body):
            raise Problem(
                "idempotency-key-reused",
                "This Idempotency-Key was used for another body; make a new key for a new session.",
            )
        return Response(_opened(row, token), 201, media_type=_JSON)

    @routes.delete("/sessions/current", status_code=204)
    async def end_session(request: Request, who: Annotated[EaVisit, Depends(by_token)]) -> Response:
        """End the session; safe to repeat."""
        arrival = arrival_of(request.scope)
        idempotency_key_of(arrival.visit.headers)
        admission.signed(who.grant, arrival.visit, b"", required=who.grant.require_signature)
        await doors.ea.end(who.session, "session_closed")
        return Response(status_code=204)


def _event_routes(routes: APIRouter, doors: Doors, admission: Admission, inbox: Inbox) -> None:
    current, ever = SessionOnly(admission), SessionOnly(admission, ended=True)

    @routes.post(
        "/sessions/current/inbox",
        status_code=202,
        response_model=InboxAccepted,
        openapi_extra=documented(InboxBody),
    )
    async def post_events(request: Request, who: Annotated[EaVisit, Depends(current)]) -> Response:
        """Take what a terminal tells; durable when it is answered, each event once."""
        arrival = arrival_of(request.scope)
        check_json(arrival.visit.headers)
        key = idempotency_key_of(arrival.visit.headers)
        raw = await request.body()
        admission.signed(who.grant, arrival.visit, raw, required=who.grant.require_signature)
        prints = sha256(raw).digest()
        body = _known(who.session, key, prints)
        if body is not None:
            return Response(body, 202, {"Idempotent-Replayed": "true"}, media_type=_JSON)
        when = Arrived(arrival.trace.received_at, arrival.trace.received_ns)
        taking = inbox.read(who, decode_object(raw), key, when)
        _charge(admission, arrival, who, taking)
        count = await inbox.take(who, taking, when)
        body = InboxAccepted(accepted=count, pending_session=who.session.pending).model_dump_json().encode()
        who.session.answered(key, prints, body)
        return Response(body, 202, media_type=_JSON)

    @routes.get("/sessions/current/outbox", response_model=OutboxView)
    async def read_outbox(
        request: Request,
        who: Annotated[EaVisit, Depends(ever)],
        cursor: Annotated[int, Query(ge=0, le=SEQUENCE_MAX)] = 0,
        wait: Annotated[int, Query(ge=0, le=WAIT_MAX_S)] = 0,
    ) -> OutboxView:
        """What the terminal is told after `cursor`, and again what it has not acknowledged; `wait` long-polls."""
        admission.settle(arrival_of(request.scope).visit, who.grant, None)
        session = who.session
        over = wait == 0 or session.status == "ended"
        events = doors.ea.pull(session, cursor) if over else await doors.ea.wait(session, cursor, wait)
        newest = max([cursor, *(event.sequence for event in events)])
        return OutboxView(
            cursor=newest,
            retry_after_ms=0 if events or wait else ASK_AGAIN_MS,
            pending=session.pending,
            events=tuple(view_of(session, event) for event in events),
        )


def view_of(session: EaSession, event: OutEvent) -> OutEventView:
    """An event as it goes out."""
    payload: dict[str, object] = json.loads(event.payload)
    return OutEventView(
        id=link.event_id(session, event),
        sequence=event.sequence,
        event_type=event.event_type,
        payload=payload,
        requires_ack=event.requires_ack,
    )


def _proved(admission: Admission, visit: Visit, grant: KeyGrant, body: SessionBody) -> bytes:
    """The secret of the key, once the body has proved that it is known there, too. Raises Problem."""
    bearer = bearer_of(visit.headers)
    if bearer.kind != b"kpt":
        raise Problem("invalid-credentials", "Open a session with the EA key itself in Authorization.")
    given = body.authentication_key.encode()
    if body.auth_method == "account_session_key":
        known = [b"kpt_" + bearer.public_id.encode() + b"_" + bearer.secret]
    else:
        known = list(grant.signing_secrets)
    if not any([hmac.compare_digest(given, one) for one in known]):  # noqa: C419 - all, in constant time
        raise admission.guessed(visit)
    return bearer.secret


def _draft(grant: KeyGrant, key: str, token: str, body: SessionBody) -> SessionDraft:
    """Id and token are made from the key's secret and the Idempotency-Key: the same request finds its session,
    and no token has to be kept anywhere."""
    session_id = sha256(f"{grant.key_id}\x1f{key}".encode()).hexdigest()[:_ID_DIGITS]
    client = body.model_dump(mode="json", by_alias=True, exclude={"authentication_key"}, exclude_none=True)
    return SessionDraft(
        session_id,
        grant.workspace,
        grant.key_id,
        grant.leader,
        grant.account,
        sha256(token.encode()).digest(),
        _fingerprint(body),
        encode(client),
    )


def _fingerprint(body: SessionBody) -> bytes:
    return sha256(body.model_dump_json().encode()).digest()


def _opened(row: SessionRow, token: str) -> bytes:
    answer = SessionOpened(
        session_id=row.session_id,
        session_token=f"kps_{row.session_id}_{token}",
        status=row.opened_as,
        pending=row.opened_as == "pending",
        previous_session_terminated=True if row.retired else None,
    )
    return answer.model_dump_json(exclude_none=True).encode()


def _known(session: EaSession, key: str, prints: bytes) -> bytes | None:
    first = session.answers.get(key)
    if first is None:
        return None
    if first.fingerprint != prints:
        raise Problem(
            "idempotency-key-reused",
            "This Idempotency-Key was used for another body; make a new key for new events.",
        )
    return first.body


def _charge(admission: Admission, arrival: Arrival, who: EaVisit, taking: Taking) -> None:
    """The request counts once; acts behind the first count as if they had come alone."""
    actions = taking.actions
    urgent: Action | None = next((action for action in actions if action in EXITS), None)
    admission.settle(arrival.visit, who.grant, urgent)
    for action in actions[1:]:
        admission.charge(who.grant, action, arrival.trace.received_ns)
