"""Users, their tokens and their request windows at the simulated firm."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

TOKEN_TTL_S: Final = 4_800  #: as documented
_NS_PER_S: Final = 1_000_000_000
STAMPS_MAX: Final = 100_000  #: requests of one login that a window can count


def password_of(user: str) -> str:
    """The password that the simulator gives a user: known to whoever can read this line."""
    return f"password-of-{user}"


@dataclass(slots=True, eq=False)
class User:
    """One login."""

    name: str
    user_id: int
    accounts: frozenset[int]
    stamps: deque[int] = field(default_factory=lambda: deque[int](maxlen=STAMPS_MAX))
    locked_until_ns: int = 0
    requests: int = 0
    logins: int = 0
    renewals: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """What a token stands for."""

    user: User
    token: str
    md_token: str
    expires_ns: int
    has_device: bool


class Logins:
    """All users and living tokens."""

    def __init__(self, users: Mapping[str, User], now_ns: Callable[[], int]) -> None:
        self.users = users
        self._now_ns = now_ns
        self._sessions: dict[str, Session] = {}
        self._issued = 0

    def login(self, name: str, password: str, *, has_device: bool, ttl_s: int) -> Session | None:
        """A new session; None for a wrong name or password."""
        user = self.users.get(name)
        if user is None or password != password_of(name):
            return None
        user.logins += 1
        self._issued += 1
        session = Session(user, f"AT{self._issued}.{name}", f"MD{self._issued}.{name}", 0, has_device)
        self._prolong(session, ttl_s)
        return session

    def renew(self, session: Session, ttl_s: int) -> Session:
        """A new token for the same session; the old one ends with its time."""
        session.user.renewals += 1
        self._issued += 1
        name = session.user.name
        fresh = Session(
            session.user, f"AT{self._issued}.{name}", f"MD{self._issued}.{name}", 0, session.has_device
        )
        self._prolong(fresh, ttl_s)
        return fresh

    def find(self, token: str) -> Session | None:
        """The session of a token that has not expired."""
        session = self._sessions.get(token)
        if session is None or session.expires_ns <= self._now_ns():
            return None
        return session

    def expire_all(self) -> None:
        """Every token is worthless from now on."""
        self._sessions.clear()

    def throttled(self, user: User, limit: int, window_s: int) -> bool:
        """Count a request; True when the window is full. A request during the lock prolongs it."""
        now_ns = self._now_ns()
        user.requests += 1
        if not limit:
            return False
        window_ns = window_s * _NS_PER_S
        while user.stamps and user.stamps[0] <= now_ns - window_ns:
            user.stamps.popleft()
        user.stamps.append(now_ns)
        return len(user.stamps) > limit

    def _prolong(self, session: Session, ttl_s: int) -> None:
        session.expires_ns = self._now_ns() + (ttl_s or TOKEN_TTL_S) * _NS_PER_S
        self._sessions[session.token] = self._sessions[session.md_token] = session
