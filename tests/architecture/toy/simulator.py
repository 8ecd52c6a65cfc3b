"""Toy Town itself: every order is open, then done, at one price."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kopitra.ports import SimAccount

_PASSWORD = "bells"
_PRICE = "100.25"
_AT = "1780000000"


@dataclass(slots=True)
class ToySimulator:
    """A town that listens."""

    server: asyncio.Server
    logins: Mapping[str, Sequence[SimAccount]]

    @classmethod
    async def start(cls, host: str, port: int, logins: Mapping[str, Sequence[SimAccount]]) -> "ToySimulator":
        return cls(await asyncio.start_server(_serve, host, port), logins)

    @property
    def control_url(self) -> str:
        return ""

    def login(self, name: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if name not in self.logins:
            raise KeyError(name)
        host, port = cast("tuple[str, int]", self.server.sockets[0].getsockname()[:2])
        return {"host": host, "port": str(port)}, {"password": _PASSWORD}

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    hello = json.loads(await reader.readline())
    welcome = "yes" if hello == {"login": _PASSWORD} else "no"
    _say(writer, {"welcome": welcome})
    number = 0
    while welcome == "yes" and (line := await reader.readline()):
        number += 1
        order = cast("dict[str, str]", json.loads(line)) | {"order": f"T{number}", "at": _AT}
        _say(writer, order | {"state": "open"})
        _say(writer, order | {"state": "done", "fill": f"F{number}", "price": _PRICE})
    writer.close()


def _say(writer: asyncio.StreamWriter, body: dict[str, str]) -> None:
    writer.write(json.dumps(body).encode() + b"\n")
