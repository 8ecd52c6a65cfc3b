"""Bodies of the routes that FastAPI serves: the same strict JSON as the hot path, then their shape."""

from typing import Final, Generic, TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from gateway_container.api.edge import arrival_of
from gateway_container.api.headers import check_json
from kopitra.wire.faults import from_validation
from kopitra.wire.scalars import Shape
from kopitra.wire.strict_json import decode_object

S = TypeVar("S", bound=Shape)

#: marks a route's body shape in its OpenAPI operation; openapi.py turns it into a request body
SHAPE_MARK: Final = "x-kopitra-body"


class BodyOf(Generic[S]):
    """A dependency that reads one shape. Raises BodyRefused, or Problem for another media type."""

    def __init__(self, shape: type[S]) -> None:
        self._shape = shape

    async def __call__(self, request: Request) -> S:
        check_json(arrival_of(request.scope).visit.headers)
        try:
            return self._shape.model_validate(decode_object(await request.body()))
        except ValidationError as error:
            raise from_validation(error) from None


def documented(shape: type[Shape]) -> dict[str, object]:
    """`openapi_extra` of a route whose body has this shape."""
    return {SHAPE_MARK: shape.__name__}
