"""A gateway's door for operators, as the command line goes through it."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx2
import msgspec

from cli.rim import BROKEN, NO, WRONG_ARGUMENTS, Stop

#: the environment variable with an operator's key
OPERATOR_KEY: Final = "KOPITRA_OPERATOR_KEY"
#: seconds for one answer of a gateway
_HTTP_TIMEOUT_S: Final = 5.0


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


@asynccontextmanager
async def operator_door(url: str, remedy: str = "") -> AsyncGenerator[httpx2.AsyncClient]:
    """Calls under /ops/v1 with the operator's key. Raises Stop without a key, or when no answer comes."""
    token = os.environ.get(OPERATOR_KEY, "")
    if not token:
        needed = (
            f"The gateway at {url} needs {OPERATOR_KEY}: an operator's token (`kopitra operator create`)."
        )
        raise Stop(f"{needed} {remedy}".strip(), WRONG_ARGUMENTS)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(
            base_url=f"{url}/ops/v1", headers=headers, trust_env=False, timeout=_HTTP_TIMEOUT_S
        ) as http:
            yield http
    except httpx2.HTTPError as error:
        raise Stop(f"The gateway at {url} does not answer ({error}): is it running?", BROKEN) from None


def checked(answer: httpx2.Response) -> bytes:
    """The body of a good answer. Raises Stop with the gateway's own words for any other."""
    if answer.status_code < 300:
        return answer.content
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"the gateway answered {answer.status_code}")
    raise Stop(f"{problem.detail} [{problem.code}]", NO)
