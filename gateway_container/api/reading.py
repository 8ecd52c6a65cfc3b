"""GET /trade-agent/v1/signals/{signalId}, and the description of POST /signals, which signals.py answers."""

from typing import Annotated, Final, NoReturn

from fastapi import APIRouter, Depends, Path

from gateway_container.api.admission import Admission
from gateway_container.api.bodies import documented
from gateway_container.api.doors import Doors, KeyGrant
from gateway_container.api.guards import EaOnly
from gateway_container.api.problems import Problem
from gateway_container.api.taking import ACCEPTED
from kopitra.wire.signals import SignalBody
from kopitra.wire.views import SignalAccepted, SignalView

SignalIdPath = Annotated[str, Path(alias="signalId", min_length=1, max_length=100)]

EXAMPLES: Final = {
    "enter": {
        "summary": "Buy two ES at market with a stop and two targets",
        "value": {
            "signalId": "ea-20261120-0001",
            "action": "enter",
            "symbol": "ES",
            "side": "buy",
            "quantity": 2,
            "stopLoss": {"offset": "10"},
            "takeProfits": [{"offset": "10", "share": "0.5"}, {"offset": "20", "share": "0.5"}],
            "leaderOrderId": "184467",
            "leaderPosition": 2,
            "occurredAt": "2026-11-20T14:30:00.000Z",
        },
    },
    "exit": {"summary": "Close all ES", "value": {"action": "exit", "symbol": "ESZ6", "leaderPosition": 0}},
    "replace": {
        "summary": "Move a resting order",
        "value": {"action": "replace", "symbol": "ES", "origLeaderOrderId": "184467", "price": "6010.25"},
    },
}


def router(doors: Doors, admission: Admission) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/trade-agent/v1", tags=["signals"])
    guard = EaOnly(admission)

    @routes.post(
        "/signals",
        status_code=ACCEPTED,
        response_model=SignalAccepted,
        openapi_extra={**documented(SignalBody), "x-examples": EXAMPLES},
        dependencies=[Depends(guard)],
    )
    async def post_signal() -> NoReturn:
        """Copy one act of a leader: 202 once the signal and its plan for every follower are durable."""
        raise RuntimeError("The edge answers this route; build the application by build_app.")

    @routes.get("/signals/{signalId}", response_model=SignalView)
    async def get_signal(signal_id: SignalIdPath, grant: Annotated[KeyGrant, Depends(guard)]) -> SignalView:
        """A signal of this key's leader, with what became of it for each follower."""
        view = await doors.views.signal(grant.workspace, signal_id)
        if view is None or view.leader != grant.leader:
            raise Problem("not-found", "There is no such signal; check its id.")
        return view

    return routes
