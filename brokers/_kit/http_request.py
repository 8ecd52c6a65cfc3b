"""The bytes of an order request: the head is built once per token and path, the body per order."""

import re
from collections.abc import Mapping
from typing import Final

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*")


class RequestTemplate:
    """`POST path` with fixed headers; `with_body(body)` costs one bytes formatting."""

    __slots__ = ("_head",)

    def __init__(self, path: str, host: str, headers: Mapping[str, str]) -> None:
        """Refuses anything that could end a header line, such as a token with a line break."""
        fields = {"Host": host, **headers}
        for name, value in fields.items():
            if not _TOKEN.fullmatch(name) or not _VISIBLE.fullmatch(value):
                raise ValueError(f"header {name!r} must be plain ASCII without line breaks")
        if not path.startswith("/") or not _VISIBLE.fullmatch(path) or " " in path:
            raise ValueError("path must begin with / and contain only visible ASCII")
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")

    def with_body(self, body: bytes) -> bytes:
        """The complete request, ready for `OrderHttpPool.send`."""
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
