"""/ops/v1: what operators see and how they stop the machine, inside their own workspace."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, WebSocket

from gateway_container.api.admission import Admission
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.doors import Doors, FlattenOrder, OperatorGrant
from gateway_container.api.guards import Open, OperatorOnly, has_role
from gateway_container.api.problems import Problem
from gateway_container.api.stream import serve
from gateway_container.api.tickets import TICKET_S, TicketBox
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState
from kopitra.wire.operators import FlattenBody, SwitchBody, TicketBody
from kopitra.wire.views import FlattenView, HealthDetailView, SnapshotView, SwitchView, TicketView

_STRICTNESS: Final[dict[SwitchState, int]] = {"active": 0, "reducing": 1, "halted": 2}


def router(doors: Doors, admission: Admission) -> APIRouter:
    """All routes of the console."""
    routes = APIRouter(prefix="/ops/v1", tags=["operators"])
    _stream_routes(routes, doors, admission)
    _control_routes(routes, doors, admission)
    return routes


def _stream_routes(routes: APIRouter, doors: Doors, admission: Admission) -> None:
    viewer = OperatorOnly(admission, "viewer")
    tickets = TicketBox()

    @routes.get("/snapshot", response_model=SnapshotView)
    async def get_snapshot(grant: Annotated[OperatorGrant, Depends(viewer)]) -> SnapshotView:
        """Accounts, positions, working orders and switches at one sequence number."""
        return doors.views.snapshot(grant.workspace, grant.accounts)

    @routes.get("/health", response_model=HealthDetailView)
    async def get_detail(grant: Annotated[OperatorGrant, Depends(viewer)]) -> HealthDetailView:
        """How each account is served, what budgets are left for the next signal, and what the clocks say."""
        return doors.views.detail(grant.workspace, grant.accounts)

    @routes.post(
        "/stream-tickets",
        status_code=201,
        response_model=TicketView,
        openapi_extra=documented(TicketBody),
    )
    async def issue_ticket(
        grant: Annotated[OperatorGrant, Depends(viewer)],
        body: Annotated[TicketBody, Depends(BodyOf(TicketBody))],
    ) -> TicketView:
        """A ticket for one connection to the stream, good for 30 seconds."""
        asked = None if body.accounts is None else frozenset(body.accounts)
        token, ticket = tickets.issue(grant, asked, doors.clock.monotonic_ns())
        return TicketView(
            ticket=token,
            expires_at=doors.clock.now() + timedelta(seconds=TICKET_S),
            accounts=None if ticket.accounts is None else tuple(sorted(ticket.accounts)),
        )

    @routes.websocket("/stream", dependencies=[Depends(Open("ticket"))])
    async def stream(socket: WebSocket) -> None:
        await serve(socket, doors, tickets)


def _control_routes(routes: APIRouter, doors: Doors, admission: Admission) -> None:
    viewer, operator = OperatorOnly(admission, "viewer"), OperatorOnly(admission, "operator")

    @routes.get("/kill-switches", response_model=list[SwitchView])
    async def list_switches(grant: Annotated[OperatorGrant, Depends(viewer)]) -> list[SwitchView]:
        """Every switch that was ever set in this workspace."""
        return [_shown(switch) for switch in doors.control.switches(grant.workspace)]

    @routes.post("/kill-switches", response_model=SwitchView, openapi_extra=documented(SwitchBody))
    async def set_switch(
        grant: Annotated[OperatorGrant, Depends(operator)],
        body: Annotated[SwitchBody, Depends(BodyOf(SwitchBody))],
    ) -> SwitchView:
        """Set or lift a kill switch; in force when this answers."""
        _check_scope(doors, grant, body.scope, body.scope_id)
        _check_lifting(doors, grant, body)
        switch = await doors.control.set_switch(
            grant.workspace, body.scope, body.scope_id, body.state, body.reason, grant.name
        )
        return _shown(switch)

    @routes.post(
        "/flatten", status_code=202, response_model=FlattenView, openapi_extra=documented(FlattenBody)
    )
    async def flatten(
        grant: Annotated[OperatorGrant, Depends(operator)],
        body: Annotated[FlattenBody, Depends(BodyOf(FlattenBody))],
    ) -> FlattenView:
        """Close everything in a scope: the positions now, then progress by GET or on the stream."""
        _check_scope(doors, grant, body.scope, body.scope_id)
        order = FlattenOrder(
            grant.workspace, body.scope, body.scope_id, body.reason, grant.name, body.halt, grant.accounts
        )
        return await doors.control.flatten(order)

    @routes.get("/flatten/{flattenId}", response_model=FlattenView)
    async def get_flatten(
        flatten_id: Annotated[str, Path(alias="flattenId", max_length=100)],
        grant: Annotated[OperatorGrant, Depends(viewer)],
    ) -> FlattenView:
        """Progress of a flatten, account by account."""
        view = doors.control.flatten_progress(grant.workspace, flatten_id)
        if view is None:
            raise Problem("not-found", "There is no such flatten; check its id.")
        return view


def _check_scope(doors: Doors, grant: OperatorGrant, scope: SwitchScope, scope_id: str) -> None:
    """404 for what is not the workspace's, 403 for accounts that are not the operator's."""
    if not doors.control.owns(grant.workspace, scope, scope_id):
        raise Problem("not-found", f"There is no such {scope} in your workspace; check scopeId.")
    covered = doors.control.accounts_in(grant.workspace, scope, scope_id)
    if grant.accounts is not None and not covered <= grant.accounts:
        raise Problem(
            "account-not-allowed", "This scope holds accounts that are not yours; name one account."
        )


def _check_lifting(doors: Doors, grant: OperatorGrant, body: SwitchBody) -> None:
    """Loosening is for admins, and said twice (R-098)."""
    present: SwitchState = "active"
    for switch in doors.control.switches(grant.workspace):
        if (switch.scope, switch.scope_id) == (body.scope, body.scope_id):
            present = max(present, switch.state, key=_STRICTNESS.__getitem__)
    if _STRICTNESS[body.state] >= _STRICTNESS[present]:
        return
    if not has_role(grant, "admin"):
        raise Problem("role-not-allowed", "Only an admin may lift a kill switch; ask one.")
    if not body.confirm:
        raise Problem(
            "missing-confirmation", "Lifting a kill switch lets orders out again; send confirm: true."
        )


def _shown(switch: KillSwitch) -> SwitchView:
    return SwitchView(
        scope=switch.scope,
        scope_id=switch.scope_id,
        state=switch.state,
        reason=switch.reason,
        who=switch.who,
        epoch=switch.epoch,
        lifting=switch.lifting,
    )
