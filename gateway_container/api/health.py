"""Liveness, readiness and metrics."""

from collections.abc import Callable

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from gateway_container.api.admission import Admission
from gateway_container.api.doors import Doors
from gateway_container.api.guards import InsideOnly, Open
from kopitra.wire.views import Alive, HealthView

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def router(doors: Doors, admission: Admission) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])
    anyone, inside = Open("anyone"), InsideOnly(admission)

    @routes.get("/trade-agent/v1/health", response_model=HealthView, dependencies=[Depends(anyone)])
    async def get_health() -> Response:
        """Readiness with dependencies; 503 only when new signals cannot be accepted."""
        view = doors.views.health()
        return JSONResponse(view.model_dump(mode="json", by_alias=True), 200 if view.accepting else 503)

    @routes.get("/trade-agent/v1/health/live", response_model=Alive, dependencies=[Depends(anyone)])
    async def get_liveness() -> Alive:
        """The event loop runs; asks nothing of the database."""
        return Alive()

    @routes.get("/metrics", include_in_schema=False, dependencies=[Depends(inside)])
    async def get_metrics() -> Response:
        return Response(doors.metrics(), media_type=_PROMETHEUS)

    return routes


def document_router(make: Callable[[], dict[str, object]]) -> APIRouter:
    """GET /openapi.json, where the settings show it."""
    routes = APIRouter()

    @routes.get("/openapi.json", include_in_schema=False, dependencies=[Depends(Open("anyone"))])
    async def get_openapi() -> Response:
        return JSONResponse(make())

    return routes
