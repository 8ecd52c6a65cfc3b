"""A client that speaks bare ASGI, and the headers of its callers."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from starlette.types import ASGIApp, Message

SECRET = "0123456789abcdef0123456789abcdef"
KEY = f"kpt_ea1_{SECRET}"
SIGNALS = "/trade-agent/v1/signals"
EXECUTIONS = "/trade-agent/v1/executions"
ENTER: dict[str, object] = {
    "signalId": "s-1",
    "action": "enter",
    "symbol": "ES",
    "side": "buy",
    "quantity": 2,
    "occurredAt": "2026-11-20T14:29:59.950Z",
}


def digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads(self.body)
        return loaded

    @property
    def code(self) -> object:
        return self.json["code"]

    @property
    def pointers(self) -> list[str]:
        found: list[dict[str, str]] = json.loads(self.body)["errors"]
        return [fault["pointer"] for fault in found]


def ea_headers(
    key: str | None = "k-1", drop: str = "", more: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    found = {
        "authorization": f"Bearer {KEY}",
        "x-tradeagent-account": "acc1",
        "content-type": "application/json",
        **({"idempotency-key": key} if key is not None else {}),
        **{name.replace("_", "-"): value for name, value in (more or {}).items()},
    }
    found.pop(drop, None)
    return list(found.items())


def operator(key_id: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer kop_{key_id}_{SECRET}"), ("content-type", "application/json")]


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | Sequence[bytes],
    *,
    client: str = "127.0.0.1",
) -> Reply:
    """One request over bare ASGI; a sequence of bytes is a chunked body."""
    chunks = deque([body] if isinstance(body, bytes) else body)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": (client, 40000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.popleft()
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))
