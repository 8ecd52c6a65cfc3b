"""/ops/v1/doubts: orders that nobody knows the fate of, and what a person decides of them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from gateway_container.api.admission import Admission
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.doors import Doors, OperatorGrant
from gateway_container.api.guards import OperatorOnly
from gateway_container.api.problems import Problem
from kopitra.wire.doubts import DoubtBody, DoubtView


def router(doors: Doors, admission: Admission) -> APIRouter:
    """List and decide."""
    routes = APIRouter(prefix="/ops/v1", tags=["operators"])
    viewer, operator = OperatorOnly(admission, "viewer"), OperatorOnly(admission, "operator")

    @routes.get("/doubts", response_model=list[DoubtView])
    async def list_doubts(grant: Annotated[OperatorGrant, Depends(viewer)]) -> list[DoubtView]:
        """Orders in doubt, and those that a person has taken over."""
        return doors.doubts.waiting(grant.workspace, grant.accounts)

    @routes.post("/doubts/{clOrdId}", response_model=DoubtView, openapi_extra=documented(DoubtBody))
    async def decide_doubt(
        cl_ord_id: Annotated[str, Path(alias="clOrdId", max_length=64)],
        grant: Annotated[OperatorGrant, Depends(operator)],
        body: Annotated[DoubtBody, Depends(BodyOf(DoubtBody))],
    ) -> DoubtView:
        """Park an order in doubt, or settle it by what the broker's own screen shows."""
        seen = [d for d in doors.doubts.waiting(grant.workspace, grant.accounts) if d.cl_ord_id == cl_ord_id]
        if not seen:
            raise Problem("not-found", "No order of this id is in doubt in your workspace; list them first.")
        if body.verdict == "park":
            return doors.doubts.park(grant.workspace, cl_ord_id, grant.name, body.reason)
        if not body.confirm:
            raise Problem(
                "missing-confirmation",
                "This says that the broker never had the order; look at its own screen, then send confirm: true.",
            )
        return doors.doubts.settle(grant.workspace, cl_ord_id, grant.name, body.reason)

    return routes
