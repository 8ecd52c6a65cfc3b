"""The OpenAPI document: FastAPI's, with the bodies that we read ourselves, the headers and the problems."""

from typing import Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from gateway_container.api.bodies import SHAPE_MARK
from gateway_container.api.guards import Guard, Policy
from kopitra.wire.ea_sessions import InboxBody, SessionBody
from kopitra.wire.executions import ExecutionBody
from kopitra.wire.operators import FlattenBody, SwitchBody, TicketBody
from kopitra.wire.scalars import Shape
from kopitra.wire.signals import SignalBody

Json = dict[str, "Json | JsonList | str | int | float | bool | None"]
JsonList = list["Json | JsonList | str | int | float | bool | None"]

SHAPES: Final[tuple[type[Shape], ...]] = (
    SignalBody, ExecutionBody, SessionBody, InboxBody, SwitchBody, FlattenBody, TicketBody,
)  # fmt: skip
_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final[Json] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, kebab-case."},
        "detail": {"type": "string", "description": "What is wrong and what to do about it."},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_ACCOUNT: Final[Json] = {
    "name": "X-TradeAgent-Account",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
}
#: statuses that a caller must expect, with what they mean
_ALWAYS: Final = {"400": "A header, the query or the syntax of the body is wrong.", "500": "Our fault."}
_CALLER: Final = {"401": "No credential, or not a valid one.", "403": "Not allowed."}
_RATED: Final = {"429": "Too many requests; see Retry-After."}
_BODY: Final = {
    "409": "The first call is still running, or the signal is known already.",
    "413": "The body is too large.",
    "415": "Wrong media type.",
    "422": "The body can never be accepted.",
    "503": "Nothing was accepted; see Retry-After.",
}


def policy_of(route: APIRoute) -> Policy:
    """The declared policy of a route. Raises LookupError unless there is exactly one."""
    found = [d.call.policy for d in route.dependant.dependencies if isinstance(d.call, Guard)]
    if len(found) != 1:
        raise LookupError(f"{route.path} declares {len(found)} policies; give it exactly one guard.")
    return found[0]


def document(app: FastAPI) -> dict[str, object]:
    """OpenAPI 3.1 of everything but the inside routes."""
    spec = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, shapes = models_json_schema([(shape, "validation") for shape in SHAPES], ref_template=_REF)
    components = spec.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(shapes["$defs"])
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(spec["paths"][route.path][method.lower()], policy_of(route), method)
    return spec


def _complete(operation: Json, policy: Policy, method: str) -> None:
    shape, examples = operation.pop(SHAPE_MARK, None), operation.pop("x-examples", None)
    parameters = operation.setdefault("parameters", [])
    if not isinstance(parameters, list):
        raise TypeError("An operation's parameters are a list.")
    if policy.caller in ("ea", "operator"):
        operation["security"] = [{"key": []}]
    if policy.caller == "ea":
        parameters += [_ACCOUNT, _KEY] if method in ("POST", "DELETE") else [_ACCOUNT]
    if isinstance(shape, str):
        content: Json = {"schema": {"$ref": _REF.format(model=shape)}}
        if isinstance(examples, dict):
            content["examples"] = examples
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    responses = operation["responses"]
    if isinstance(responses, dict):
        for status, meaning in _expected(policy, method).items():
            responses[status] = _problem_response(meaning)


def _expected(policy: Policy, method: str) -> dict[str, str]:
    expected = dict(_ALWAYS)
    if policy.caller in ("ea", "operator"):
        expected |= _CALLER
    if policy.caller in ("ea", "operator", "hook"):
        expected |= _RATED | {"404": "There is no such thing, or it is not yours."}
    if method == "POST":
        expected |= _BODY
    elif policy.caller == "ea":
        expected |= {"503": _BODY["503"]}
    return expected


def _problem_response(meaning: str) -> Json:
    return {
        "description": meaning,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
