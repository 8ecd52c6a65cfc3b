"""The OpenAPI document: complete, true of the application, and survived by it."""

# schemathesis is only partly typed.
# pyright: reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from gateway_container.api.doors import Settings
from gateway_container.api.problems import CODES
from gateway_container.api.reading import EXAMPLES
from gateway_container.app import openapi_document
from tests.api.client import ea_headers, operator
from tests.api.world import World

WORLD = World()
WORLD.change_key(rate_per_minute=10**9)
WORLD.set(Settings(failures_per_minute=10**9))
TOKEN = {"authorization": f"Bearer {WORLD.terminals.standing()}"}
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", WORLD.app)
SPEC = json.loads(json.dumps(openapi_document()))
LEFT_OUT = [ignored_auth, negative_data_rejection, positive_data_acceptance]
SIGNAL = {"$ref": "#/components/schemas/SignalBody", "components": SPEC["components"]}


@SCHEMA.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_the_application_keeps_its_document(case: schemathesis.Case) -> None:
    """Whatever fits the document, or does not, is answered as the document says.

    Left to other tests: who may do what, and what is wrong with a body (these checks would count the credential
    that is added here as a part of the case, and a symbol that fits its shape as known).
    """
    console = case.path.startswith("/ops")
    session = TOKEN if "/current" in case.path else {}
    key = operator("a")[0] if console else ea_headers(more=session)[0]
    case.headers.update([key])
    if case.headers.get("X-TradeAgent-Account"):
        case.headers["X-TradeAgent-Account"] = "acc1"
    case.call_and_validate(excluded_checks=LEFT_OUT)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_fit_the_document(name: str) -> None:
    Draft202012Validator(SIGNAL).validate(EXAMPLES[name]["value"])


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_examples_are_accepted(world: World, name: str) -> None:
    assert (await world.signal(EXAMPLES[name]["value"])).status == 202


def test_every_operation_says_what_can_go_wrong() -> None:
    for path, operations in SPEC["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert "500" in responses, path
            if method == "post":
                assert {"409", "413", "415", "422", "503"} <= set(responses), path
            if operation.get("security"):
                assert {"401", "403"} <= set(responses), path


def test_names_on_the_wire_are_camel_case() -> None:
    for name, shape in SPEC["components"]["schemas"].items():
        for field in shape.get("properties", {}):
            assert "_" not in field, (name, field)


def test_codes_are_kebab_case_and_have_a_status() -> None:
    for code, told in CODES.items():
        assert code.islower()
        assert "_" not in code
        assert 400 <= told.status < 600
        assert told.title
