"""Login by API key, renewal and logout: one JWT serves REST and both hubs.

Source: ProjectX Gateway API docs, "Authenticate (with API key)", "Validate Session": a token lives 24 hours.
"""

from collections.abc import Mapping
from typing import Final

import jwt
import orjson

from brokers._kit.rest import RestClient
from brokers._kit.tokens import Issued
from brokers.projectx.answers import HTTP_OK, LOGIN_REFUSED
from brokers.projectx.wire import LoginReply, read_reply
from kopitra.domain.errors import Disconnected, LoginRefused
from kopitra.ports import Clock

_LIFETIME_S: Final = 86_400.0  #: where the token does not say
_LIFETIME_MIN_S: Final = 1.0  #: a clock that is far off must not make the renewal spin


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


class Authenticator:
    """The `fetch` of a TokenHolder."""

    def __init__(self, rest: RestClient, credentials: Mapping[str, str], clock: Clock) -> None:
        self._rest = rest
        self._user, self._api_key = credentials["user_name"], credentials["api_key"]
        self._clock = clock

    async def fetch(self, previous: str | None) -> Issued[str]:
        """Renew `previous` by `Auth/validate`, or log in by `Auth/loginKey`.

        Raises LoginRefused for what stays wrong however often it is tried, else a SessionError to try again.
        """
        renewed = None if previous is None else await self._validate(previous)
        token = renewed or await self._log_in()
        return Issued(token, self._lifetime_s(token))

    async def _validate(self, token: str) -> str | None:
        reply = await self._rest.post("/api/Auth/validate", b"{}", headers=bearer(token))
        if reply.status != HTTP_OK:
            return None
        answer = read_reply(LoginReply, reply.body)
        # No new token although the old one is good: log in, for the point of asking is a longer life.
        return answer.new_token if answer.success is True else None

    async def _log_in(self) -> str:
        body = orjson.dumps({"userName": self._user, "apiKey": self._api_key})
        reply = await self._rest.post("/api/Auth/loginKey", body)
        answer = read_reply(LoginReply, reply.ok())
        if answer.success is True and answer.token:
            return answer.token
        reason = LOGIN_REFUSED.get(answer.error_code or 0)
        if reason is None:
            raise Disconnected(f"the login failed with errorCode {answer.error_code}; it is tried again")
        raise LoginRefused(f"the firm refused the login: {reason}. Correct the user name or API key.")

    async def log_out(self, token: str) -> None:
        """End the token's life at the firm; what it answers does not matter."""
        await self._rest.post("/api/Auth/logout", b"{}", headers=bearer(token))

    def _lifetime_s(self, token: str) -> float:
        try:
            claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
            expires_s = float(claims["exp"])
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            return _LIFETIME_S
        return max(_LIFETIME_MIN_S, expires_s - self._clock.now().timestamp())
