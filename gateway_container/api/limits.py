"""/ops/v1/limits: where accounts stand with their loss limits, and a new measuring start."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from gateway_container.api.admission import Admission
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.doors import Doors, OperatorGrant
from gateway_container.api.guards import OperatorOnly
from gateway_container.api.problems import Problem
from kopitra.domain.measuring import NewStart
from kopitra.wire.limits import LimitsView, RestartBody


def router(doors: Doors, admission: Admission) -> APIRouter:
    """Show and begin anew."""
    routes = APIRouter(prefix="/ops/v1", tags=["operators"])
    viewer, admin = OperatorOnly(admission, "viewer"), OperatorOnly(admission, "admin")

    @routes.get("/limits", response_model=list[LimitsView])
    async def list_limits(grant: Annotated[OperatorGrant, Depends(viewer)]) -> list[LimitsView]:
        """Accounts with loss limits, rule by rule."""
        return doors.limits.standing(grant.workspace, grant.accounts)

    @routes.post(
        "/limits/{accountId}/restart", response_model=LimitsView, openapi_extra=documented(RestartBody)
    )
    async def restart_limits(
        account_id: Annotated[str, Path(alias="accountId", max_length=100)],
        grant: Annotated[OperatorGrant, Depends(admin)],
        body: Annotated[RestartBody, Depends(BodyOf(RestartBody))],
    ) -> LimitsView:
        """Clear a stop-out: losses are measured anew from the broker's balance, or from the one given (R-104)."""
        known = doors.limits.standing(grant.workspace, grant.accounts)
        if account_id not in [view.account_id for view in known]:
            raise Problem(
                "not-found", "No account of this id has loss limits in your workspace; list them first."
            )
        if not body.confirm:
            text = "A new start forgets the highest equity and lets entries out again; send confirm: true."
            raise Problem("missing-confirmation", text)
        asked = NewStart(0, body.balance, body.peak, grant.name, body.reason)
        return doors.limits.restart(account_id, asked)

    return routes
