"""The gateway's ASGI application, built from its dependencies; `compose.py` fills them."""

from collections.abc import Awaitable, Callable
from typing import Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan

from gateway_container.api import (
    doubts,
    ea_sessions,
    executions,
    health,
    limits,
    ops,
    reading,
    repairs,
    webhooks,
)
from gateway_container.api.admission import Admission
from gateway_container.api.doors import (
    Broadcast,
    Control,
    Credentials,
    Doors,
    Executions,
    Intake,
    Settings,
    Views,
)
from gateway_container.api.edge import Edge, arrival_of
from gateway_container.api.openapi import document
from gateway_container.api.problems import Problem, problem_of, render
from kopitra.domain.errors import KopitraError
from kopitra.ports import Clock
from kopitra.wire.faults import FieldFault, pointer_of

TITLE: Final = "Kopitra gateway"
VERSION: Final = "1"
DESCRIPTION: Final = (
    "Signals in, confirmed copies out. Errors are application/problem+json with a stable code and the remedy."
)


def build_app(doors: Doors, lifespan: Lifespan[FastAPI] | None = None) -> ASGIApp:
    """The application. `lifespan` starts and drains what stands behind the doors."""
    admission = Admission(doors)
    return Edge(doors, admission, _routes(doors, admission, lifespan))


def openapi_document() -> dict[str, object]:
    """The OpenAPI document; needs nothing that runs."""
    doors = _nobody()
    return document(_routes(doors, Admission(doors), None))


def _routes(doors: Doors, admission: Admission, lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    shown = doors.settings.show_docs
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for room in (reading, executions, ea_sessions, webhooks, health, ops, doubts, repairs, limits):
        app.router.routes.extend(room.router(doors, admission).routes)
    if shown:
        app.router.routes.extend(health.document_router(lambda: document(app)).routes)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    """Every error as a problem; the edge logs what nobody foresaw."""
    trace = arrival_of(request.scope).trace
    answer = render(problem_of(error), trace.request_id)
    trace.code = answer.code
    return Response(
        answer.body, answer.status, {name.decode(): value.decode() for name, value in answer.headers}
    )


async def _on_http(request: Request, error: Exception) -> Response:
    """Routing's own refusals."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = _allowed(request)
        return await _on_error(request, Problem("method-not-allowed", f"Use {allow} here.", allow=allow))
    if isinstance(error, HTTPException) and error.status_code == 404:
        return await _on_error(request, Problem("not-found", "There is nothing at this path; check it."))
    return await _on_error(request, error)


def _allowed(request: Request) -> str:
    """The methods of every route at this path: the router itself tells those of the first only."""
    path: str = request.scope["path"]
    app: FastAPI = request.app
    found: set[str] = set()
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path_regex.match(path):
            found |= route.methods or set()
    return ", ".join(sorted(found))


async def _on_parameters(request: Request, error: Exception) -> Response:
    """A path or query parameter that does not fit."""
    if not isinstance(error, RequestValidationError):
        return await _on_error(request, error)
    faults = [
        FieldFault(pointer_of(tuple(found["loc"])), "invalid-parameter", f"{found['msg']}.")
        for found in error.errors()
    ]
    return await _on_error(request, Problem("invalid-query", "A parameter does not fit.", errors=faults))


_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    Problem: _on_error,
    KopitraError: _on_error,
    HTTPException: _on_http,
    RequestValidationError: _on_parameters,
    Exception: _on_error,
}


def _nobody() -> Doors:
    """Doors that lead nowhere: a document needs their shape only."""
    nothing = object()
    return Doors(
        clock=cast(Clock, nothing),
        credentials=cast(Credentials, nothing),
        intake=cast(Intake, nothing),
        executions=cast(Executions, nothing),
        views=cast(Views, nothing),
        control=cast(Control, nothing),
        broadcast=cast(Broadcast, nothing),
        metrics=bytes,
        settings=Settings(),
    )
