"""Asking a running gateway as an operator: address and token, one answer, problems in words."""

import asyncio
import os
from typing import Annotated, Final

import httpx2
import msgspec
import typer

from cli.rim import NO, WRONG_ARGUMENTS, Stop

#: the environment variable with an operator's key
OPERATOR_KEY: Final = "KOPITRA_OPERATOR_KEY"
#: seconds for one answer of the gateway
_HTTP_TIMEOUT_S: Final = 5.0
HERE: Final = "http://127.0.0.1:8080"

Url = Annotated[str, typer.Option(envvar="KOPITRA_URL", help="Where the gateway is.")]


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


def ask(url: str, method: str, path: str, body: bytes = b"") -> bytes:
    """The answer to a call below /ops/v1. Raises Stop with the remedy."""
    token = os.environ.get(OPERATOR_KEY, "")
    if not token:
        raise Stop(f"Set {OPERATOR_KEY} to an operator's token (`kopitra operator create`).", WRONG_ARGUMENTS)
    return asyncio.run(_asked(f"{url}/ops/v1{path}", method, body, token))


async def _asked(url: str, method: str, body: bytes, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_HTTP_TIMEOUT_S) as http:
            answer = await http.request(method, url, content=body, headers=headers)
    except httpx2.HTTPError as error:
        raise Stop(f"No gateway answers there ({error}): name it by --url or start it.") from None
    if answer.status_code < 300:
        return answer.content
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"the gateway answered {answer.status_code}")
    raise Stop(f"{problem.detail} [{problem.code}]", NO)
