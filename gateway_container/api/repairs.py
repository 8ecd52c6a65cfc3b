"""/ops/v1/repairs: drift repair in two steps, and lifting the blocks that drift has set."""

from typing import Annotated

from fastapi import APIRouter, Depends

from gateway_container.api.admission import Admission
from gateway_container.api.bodies import BodyOf, documented
from gateway_container.api.doors import Doors, OperatorGrant
from gateway_container.api.guards import OperatorOnly
from gateway_container.api.problems import Problem
from kopitra.wire.repairs import LiftBody, LiftedView, RepairBody, RepairView


def router(doors: Doors, admission: Admission) -> APIRouter:
    """Preview, approve, lift."""
    routes = APIRouter(prefix="/ops/v1", tags=["operators"])
    operator = OperatorOnly(admission, "operator")

    @routes.post("/repairs", response_model=RepairView, openapi_extra=documented(RepairBody))
    async def repair(
        grant: Annotated[OperatorGrant, Depends(operator)],
        body: Annotated[RepairBody, Depends(BodyOf(RepairBody))],
    ) -> RepairView:
        """Preview the repair of drift, or carry out a previewed plan by its id."""
        if body.plan_id is not None:
            return await doors.repairs.apply(grant.workspace, body.plan_id, grant.name, grant.accounts)
        asked = None if body.accounts is None else frozenset(body.accounts)
        if asked is not None:
            _check(doors, grant, asked)
        return await doors.repairs.preview(grant.workspace, body, grant.accounts if asked is None else asked)

    @routes.post("/entry-blocks/lift", response_model=LiftedView, openapi_extra=documented(LiftBody))
    async def lift_entry_block(
        grant: Annotated[OperatorGrant, Depends(operator)],
        body: Annotated[LiftBody, Depends(BodyOf(LiftBody))],
    ) -> LiftedView:
        """Let entries of an account, or of one contract there, go on."""
        _check(doors, grant, frozenset((body.account_id,)))
        doors.repairs.lift(grant.workspace, body.account_id, body.symbol, f"{grant.name}: {body.reason}")
        return LiftedView(account_id=body.account_id, symbol=body.symbol)

    return routes


def _check(doors: Doors, grant: OperatorGrant, accounts: frozenset[str]) -> None:
    """404 for accounts that are not the workspace's, 403 for those that are not the operator's."""
    for account_id in sorted(accounts):
        if not doors.control.owns(grant.workspace, "account", account_id):
            raise Problem("not-found", f"There is no account {account_id} in your workspace; check its id.")
    if grant.accounts is not None and not accounts <= grant.accounts:
        raise Problem("account-not-allowed", "Some of these accounts are not yours; name others.")
