"""What is wrong with a body, told so that a person can mend it."""

from typing import Final, NamedTuple

from pydantic import ValidationError

from kopitra.domain.errors import Refusal

#: faults told at once; the rest shows when these are mended
FAULTS_MAX: Final = 20


class FieldFault(NamedTuple):
    """One fault: `pointer` is a JSON pointer (RFC 6901) into the body, "" for the whole; `code` is stable."""

    pointer: str
    code: str
    detail: str


class BodyRefused(Refusal):
    """The body can never be accepted as it is; `code` is that of its first fault."""

    code = "invalid-body"

    def __init__(self, *faults: FieldFault) -> None:
        super().__init__(faults[0].detail, code=faults[0].code)
        self.faults = faults[:FAULTS_MAX]


def refuse(code: str, detail: str, pointer: str = "") -> BodyRefused:
    """A BodyRefused of one fault."""
    return BodyRefused(FieldFault(pointer, code, detail))


def pointer_of(path: tuple[int | str, ...]) -> str:
    """A JSON pointer from the parts of a path."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def from_validation(error: ValidationError) -> BodyRefused:
    """Pydantic's findings in our words. The input itself is never repeated: it may hold a secret."""
    found = error.errors(include_url=False, include_input=False, include_context=True)
    return BodyRefused(*(_fault(item["type"], item["loc"], item["msg"]) for item in found[:FAULTS_MAX]))


#: pydantic's type of error -> (our code, what to do about it); other types are our own codes already
_CODES: Final = {
    "extra_forbidden": ("unknown-field", "This field is not known here; leave it out."),
    "missing": ("missing-field", "This field is required; send it."),
    "literal_error": ("unknown-value", ""),
    "string_type": ("wrong-type", "Send a JSON string."),
    "bool_type": ("wrong-type", "Send true or false."),
    "list_type": ("wrong-type", "Send a JSON array."),
    "tuple_type": ("wrong-type", "Send a JSON array."),
    "model_type": ("wrong-type", "Send a JSON object."),
    "model_attributes_type": ("wrong-type", "Send a JSON object."),
    "string_too_short": ("invalid-length", ""),
    "string_too_long": ("invalid-length", ""),
    "too_long": ("invalid-length", ""),
    "too_short": ("invalid-length", ""),
    "string_pattern_mismatch": ("invalid-characters", "Send printable characters only."),
}


def _fault(kind: str, path: tuple[int | str, ...], message: str) -> FieldFault:
    code, detail = _CODES.get(kind, (kind.replace("_", "-"), ""))
    return FieldFault(pointer_of(path), code, detail or f"{message}.".replace("..", "."))
