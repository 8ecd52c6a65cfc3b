"""Login, renewal and what a login answer means (vendor docs "Access Token Request", "Penalty Tickets").

Every business case is HTTP 200: only the body tells. A fresh login opens a new session at the vendor and may
push out the oldest one of that user, so a living token is renewed instead.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from brokers._kit.budget import TRY_AGAIN_S
from brokers._kit.rest import RestClient, RestReply, decoded
from brokers._kit.tokens import Issued
from brokers.tradovate.settings import TradovateSettings
from kopitra.domain.errors import LoginRefused, SessionError, Throttled
from kopitra.ports import Clock, LoginPlan

_LOGIN = "/auth/accesstokenrequest"
_RENEW = "/auth/renewaccesstoken"


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """What a login gives; never shown."""

    access: str
    market_data: str
    user_id: int


class _Answer(msgspec.Struct, rename="camel"):
    access_token: str | None = None
    md_access_token: str | None = None
    expiration_time: datetime | None = None
    user_id: int = 0
    user_status: str = ""
    error_text: str | None = None
    ticket: str | None = msgspec.field(name="p-ticket", default=None)
    wait_s: float = msgspec.field(name="p-time", default=0.0)
    captcha: bool = msgspec.field(name="p-captcha", default=False)


class Login:
    """Fetches tokens for one login; give `fetch` to a TokenHolder."""

    def __init__(
        self,
        plan: LoginPlan,
        settings: TradovateSettings,
        rest: RestClient,
        clock: Clock,
        alert: Callable[[str], None],
    ) -> None:
        """`alert` is told what a person must do (a captcha)."""
        self._settings = settings
        self._rest = rest
        self._clock = clock
        self._alert = alert
        self._body = _login_body(plan, settings)

    async def fetch(self, previous: Token | None) -> Issued[Token]:
        """Renew `previous`, or log in. Raises LoginRefused, Throttled or another SessionError."""
        if previous is not None:
            try:
                return self._issued(await self._renewed(previous))
            except Throttled:
                raise
            except SessionError:
                pass  # an unknown or expired session cannot be renewed: log in again
        return self._issued(await self._logged_in())

    async def _renewed(self, previous: Token) -> _Answer:
        reply = await self._rest.get(_RENEW, headers={"Authorization": f"Bearer {previous.access}"})
        answer = self._read(reply)
        if answer.ticket is not None:
            raise self._throttled(answer)
        return answer

    async def _logged_in(self) -> _Answer:
        answer = self._read(await self._rest.post(_LOGIN, msgspec.json.encode(self._body)))
        if answer.ticket is not None and not answer.captcha:
            # The one request that may be repeated: identical, with its ticket, after the wait.
            await asyncio.sleep(answer.wait_s)
            again = {**self._body, "p-ticket": answer.ticket}
            answer = self._read(await self._rest.post(_LOGIN, msgspec.json.encode(again)))
        if answer.ticket is not None or answer.captcha:
            raise self._throttled(answer)
        return answer

    def _read(self, reply: RestReply) -> _Answer:
        if reply.status in (423, 429):
            wait_s = min(self._settings.throttle_wait_s, TRY_AGAIN_S)  # no exit leaves without a token
            raise Throttled(f"the vendor asks for silence (HTTP {reply.status})", retry_after_s=wait_s)
        return decoded(reply.ok(), _Answer)

    def _throttled(self, answer: _Answer) -> Throttled:
        if not answer.captcha:
            return Throttled("the vendor gave a time penalty", retry_after_s=max(answer.wait_s, 1.0))
        wait_s = self._settings.captcha_wait_s
        self._alert(
            f"The vendor asks for a captcha, which no program can solve: no login for {wait_s:.0f} s. "
            "Log in once by hand in the vendor's own client, and look for repeated failed logins."
        )
        return Throttled("the vendor asks for a captcha", retry_after_s=wait_s)

    def _issued(self, answer: _Answer) -> Issued[Token]:
        if answer.error_text or not answer.access_token or answer.expiration_time is None:
            said = answer.error_text or f"no token, user status {answer.user_status or 'unknown'}"
            raise LoginRefused(f"The vendor refused the login: {said}. Check name, password and API key.")
        lifetime_s = (answer.expiration_time - self._clock.now()).total_seconds()
        market_data = answer.md_access_token or answer.access_token
        return Issued(Token(answer.access_token, market_data, answer.user_id), lifetime_s)


def _login_body(plan: LoginPlan, settings: TradovateSettings) -> dict[str, str]:
    secrets = plan.credentials
    missing = [key for key in ("name", "password") if not secrets.get(key)]
    if missing:
        raise LoginRefused(f"the login lacks {' and '.join(missing)}; store the credentials again.")
    body = {
        "name": secrets["name"],
        "password": secrets["password"],
        "appId": settings.app_id,
        "appVersion": settings.app_version,
        "deviceId": settings.device(plan.login_id),
    }
    return body | {key: secrets[key] for key in ("cid", "sec") if secrets.get(key)}
