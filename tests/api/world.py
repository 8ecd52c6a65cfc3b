"""A gateway without an engine: the doors on stand-ins in memory, and a client that speaks bare ASGI.

The stand-ins keep what they are given, so that a test can prove that nothing changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from starlette.types import ASGIApp

from gateway_container.api.doors import (
    Doors,
    HookGrant,
    KeyGrant,
    OperatorGrant,
    Role,
    Served,
    Settings,
)
from gateway_container.app import build_app
from tests.api.client import ENTER, SECRET, SIGNALS, Reply, call, digest, ea_headers
from tests.api.doubted import Doubted
from tests.api.limited import Limited
from tests.api.repaired import Repaired
from tests.api.stand_ins import NOW, Controls, Keyring, Ledger, News, Shown, TestClock
from tests.api.terminals import Terminals


@dataclass
class World:
    """Everything one test touches."""

    clock: TestClock = field(default_factory=TestClock)
    ledger: Ledger = field(default_factory=Ledger)
    keyring: Keyring = field(default_factory=Keyring)
    shown: Shown = field(default_factory=Shown)
    controls: Controls = field(default_factory=Controls)
    news: News = field(default_factory=News)
    doubted: Doubted = field(default_factory=Doubted)
    limited: Limited = field(default_factory=Limited)
    repaired: Repaired = field(default_factory=Repaired)
    terminals: Terminals = field(init=False)
    served: list[Served] = field(default_factory=list[Served])
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.ledger.now = self.clock.now
        self.terminals = Terminals(self.clock)
        later = NOW + timedelta(days=30)
        ea = KeyGrant("ea1", "w1", "l1", "acc1", digest(SECRET), later, symbols={"US500": "ES"})
        self.keyring.keys = {
            "ea1": ea,
            "ea2": replace(ea, key_id="ea2", workspace="w2", leader="l2", account="acc2"),
        }
        roles: tuple[tuple[str, Role], ...] = (("v", "viewer"), ("o", "operator"), ("a", "admin"))
        self.keyring.operators = {
            key: OperatorGrant(key, "w1", f"{role}@w1", role, digest(SECRET), later) for key, role in roles
        }
        other = OperatorGrant("x", "w2", "admin@w2", "admin", digest(SECRET), later)
        self.keyring.operators["x"] = other
        hook = HookGrant("h1", "w1", "l1", digest(SECRET), "line")
        self.keyring.hooks = {"h1": hook, "h2": replace(hook, hook_id="h2", preset="tradingview")}
        self.app = self.build()

    def build(self) -> ASGIApp:
        self.doors = Doors(
            clock=self.clock,
            credentials=self.keyring,
            intake=self.ledger,
            executions=self.ledger,
            views=self.shown,
            control=self.controls,
            broadcast=self.news,
            metrics=lambda: b"kopitra_up 1\n",
            settings=self.settings,
            observe=self.served.append,
            doubts=self.doubted,
            limits=self.limited,
            repairs=self.repaired,
            ea=self.terminals,
        )
        self.app = build_app(self.doors)
        return self.app

    def set(self, settings: Settings) -> None:
        self.settings = settings
        self.build()

    def change_key(self, **changes: object) -> None:
        self.keyring.keys["ea1"] = replace(self.keyring.keys["ea1"], **changes)

    async def call(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | Sequence[bytes] = b"",
        *,
        client: str = "127.0.0.1",
    ) -> Reply:
        return await call(self.app, method, path, headers, body, client=client)

    async def hook(self, text: str | bytes, hook_id: str = "h1", secret: str = SECRET, **more: str) -> Reply:
        """POST to a webhook, with no header that the sender cannot set."""
        raw = text.encode() if isinstance(text, str) else text
        headers = [("content-type", "text/plain"), *((n.replace("_", "-"), v) for n, v in more.items())]
        return await self.call("POST", f"/trade-agent/v1/webhooks/{hook_id}_{secret}", headers, raw)

    def change_hook(self, **changes: object) -> None:
        self.keyring.hooks["h1"] = replace(self.keyring.hooks["h1"], **changes)

    def change_operator(self, key_id: str, **changes: object) -> None:
        self.keyring.operators[key_id] = replace(self.keyring.operators[key_id], **changes)

    async def signal(
        self, body: object = None, *, key: str | None = "k-1", drop: str = "", **more: str
    ) -> Reply:
        """POST /signals as the EA of workspace w1; `drop` leaves a header out, `more` adds or replaces."""
        raw = body if isinstance(body, bytes) else json.dumps(ENTER if body is None else body).encode()
        return await self.call("POST", SIGNALS, ea_headers(key, drop, more), raw)
