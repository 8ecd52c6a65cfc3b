"""Who may talk: users with their API keys, JWTs with `exp`, and the two sliding windows of the rate limit."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import jwt

TOKEN_TTL_S: Final = 86_400  #: lifetime of a token
WINDOW: Final = (200, 60)  #: requests, seconds: everything but bars
BARS_WINDOW: Final = (50, 30)  #: requests, seconds: History/retrieveBars
_NS_PER_S: Final = 1_000_000_000
_SIGNING_KEY: Final = (
    "simulated-firm-" + "0" * 48
)  # protects nothing: the simulator's tokens are worth nothing


@dataclass(slots=True)
class Login:
    """One user of the simulated firm."""

    user: str
    api_key: str
    #: raised to refuse every token given out before
    generation: int = 0
    requests: deque[int] = field(default_factory=deque[int])  # bounded by WINDOW: older stamps are dropped
    bar_requests: deque[int] = field(default_factory=deque[int])


class Logins:
    """All users; time comes in through `now_ns` (wall clock, nanoseconds)."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._by_user: dict[str, Login] = {}
        self._cache: dict[str, tuple[str, int, int]] = {}  # token -> user, expiry ns, generation
        self._serial = 0

    def add(self, user: str, api_key: str) -> None:
        """Make a user known."""
        self._by_user[user] = Login(user, api_key)

    def find(self, user: str) -> Login | None:
        """The user of that name."""
        return self._by_user.get(user)

    def issue(self, login: Login, ttl_s: int) -> str:
        """A new token; the older ones stay valid until they expire."""
        self._serial += 1
        now_s = self._now_ns() // _NS_PER_S
        claims = {
            "sub": login.user, "gen": login.generation, "jti": str(self._serial), "iat": now_s,
            "exp": now_s + ttl_s,
        }  # fmt: skip
        return jwt.encode(claims, _SIGNING_KEY, algorithm="HS256")

    def of_token(self, token: str) -> Login | None:
        """Whose token this is; None when it is missing, wrong, expired or revoked."""
        found = self._cache.get(token) or self._verified(token)
        if found is None or self._now_ns() >= found[1]:
            return None
        login = self._by_user[found[0]]
        return login if login.generation == found[2] else None

    def _verified(self, token: str) -> tuple[str, int, int] | None:
        try:
            claims = jwt.decode(
                token, _SIGNING_KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.InvalidTokenError:
            return None
        user = str(claims["sub"])
        if user not in self._by_user:
            return None
        found = (user, int(claims["exp"]) * _NS_PER_S, int(claims["gen"]))
        if len(self._cache) >= 4_096:  # tokens; they are cheap to verify again
            self._cache.clear()
        self._cache[token] = found
        return found

    def revoke(self, user: str | None) -> None:
        """Every token of the user (or of all) answers 401 from now on."""
        for login in self._by_user.values():
            if user is None or login.user == user:
                login.generation += 1

    def admit(self, login: Login, limit: int, window_s: int, *, bars: bool = False) -> bool:
        """Count one request in its sliding window; False when the window is full."""
        stamps = login.bar_requests if bars else login.requests
        now_ns = self._now_ns()
        while stamps and now_ns - stamps[0] >= window_s * _NS_PER_S:
            stamps.popleft()
        if len(stamps) >= limit:
            return False
        stamps.append(now_ns)
        return True
