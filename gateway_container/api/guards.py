"""Who may use a route: one declared policy per route, enforced before anything else of it runs."""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import HTTPConnection

from gateway_container.api.admission import Admission
from gateway_container.api.credentials import EaVisit
from gateway_container.api.doors import KeyGrant, OperatorGrant, Role
from gateway_container.api.edge import arrival_of
from gateway_container.api.problems import Problem
from kopitra.domain.signals import Action

Caller = Literal["anyone", "ea", "operator", "hook", "inside", "ticket", "session"]
_RANK: Final[dict[Role, int]] = {"viewer": 0, "operator": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may call: `role` is the least role of an operator."""

    caller: Caller
    role: Role | None = None


def has_role(grant: OperatorGrant, least: Role) -> bool:
    """True when the operator's role is at least this one."""
    return _RANK[grant.role] >= _RANK[least]


class Open:
    """No usual credential: `anyone`, or the route itself checks (a hook's path, a one-time ticket, a session)."""

    def __init__(self, caller: Literal["anyone", "hook", "ticket", "session"]) -> None:
        self.policy = Policy(caller)

    async def __call__(self) -> None:
        return None


class EaOnly:
    """An EA key with its account header. `urgent`: facts and exits, which may use the rate's reserve."""

    def __init__(self, admission: Admission, *, urgent: bool = False) -> None:
        self.policy = Policy("ea")
        self._admission = admission
        self._action: Action | None = "exit" if urgent else None

    async def __call__(self, connection: HTTPConnection) -> KeyGrant:
        arrival = arrival_of(connection.scope)
        grant = self._admission.ea(arrival.visit)
        arrival.trace.known(grant.workspace, grant.key_id)
        self._admission.settle(arrival.visit, grant, self._action)
        return grant


class SessionOnly:
    """The token of an EA session with its account header. `ended`: a session that is over may call, too."""

    def __init__(self, admission: Admission, *, ended: bool = False) -> None:
        self.policy = Policy("ea")
        self._admission = admission
        self._ended = ended

    async def __call__(self, connection: HTTPConnection) -> EaVisit:
        arrival = arrival_of(connection.scope)
        found = self._admission.session(arrival.visit, ended=self._ended)
        arrival.trace.known(found.grant.workspace, found.grant.key_id)
        return found


class OperatorOnly:
    """An operator of at least this role; the grant carries the only workspace the route may touch."""

    def __init__(self, admission: Admission, role: Role) -> None:
        self.policy = Policy("operator", role)
        self._admission = admission
        self._role: Role = role

    async def __call__(self, connection: HTTPConnection) -> OperatorGrant:
        arrival = arrival_of(connection.scope)
        grant = self._admission.operator(arrival.visit)
        arrival.trace.known(grant.workspace, grant.key_id)
        if not has_role(grant, self._role):
            raise Problem("role-not-allowed", f"This needs the role {self._role}; ask an admin.")
        return grant


class InsideOnly:
    """Our own processes."""

    def __init__(self, admission: Admission) -> None:
        self.policy = Policy("inside")
        self._admission = admission

    async def __call__(self, connection: HTTPConnection) -> None:
        self._admission.inside(arrival_of(connection.scope).visit)


Guard = Open | EaOnly | SessionOnly | OperatorOnly | InsideOnly
