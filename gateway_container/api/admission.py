"""Admission: credential, address, rate and signature of a request, in this order, all from memory."""

from dataclasses import dataclass

from starlette.types import Receive, Scope

from gateway_container.api.addresses import check_allowed, client_text, is_loopback
from gateway_container.api.credentials import EaVisit, ea_grant, operator_grant, secret_matches, session_visit
from gateway_container.api.doors import Doors, HookGrant, KeyGrant, OperatorGrant
from gateway_container.api.headers import BODY_BYTES_MAX, Headers, too_large
from gateway_container.api.problems import Problem
from gateway_container.api.rates import RESERVE_RATIO, Rates
from gateway_container.api.signatures import Signatures
from kopitra.domain.signals import EXITS, Action
from kopitra.ports import Clock

#: characters of a hook's path part
HOOK_LENGTH_MAX = 200
#: bodies read to find out whether they may use the reserve, relative to the rate
LOOKS_RATIO = 10


@dataclass(slots=True)
class Visit:
    """What is known of a request before anybody reads its body."""

    scope: Scope
    headers: Headers
    address: str
    now_ns: int
    #: False when only the reserve for exits was left
    paid: bool = True


class Admission:
    """Lets requests in. One per process: it counts and remembers."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._clock: Clock = doors.clock
        self._rates = Rates()
        self._signatures = Signatures()

    def visit(self, scope: Scope, headers: Headers, now_ns: int) -> Visit:
        """Where a request comes from."""
        address = client_text(scope, headers, trust_proxy=self._doors.settings.trust_proxy)
        return Visit(scope, headers, address, now_ns)

    def ea(self, visit: Visit) -> KeyGrant:
        """Let an EA in. Raises Problem: 400, 401, 403 or 429."""
        try:
            grant = ea_grant(
                self._doors.credentials, self._doors.ea, visit.headers, visit.address, self._clock.now()
            )
        except Problem as problem:
            raise self._counted(visit, problem) from None
        self._charge(visit, grant.key_id, grant.rate_per_minute)
        return grant

    def session(self, visit: Visit, *, ended: bool) -> EaVisit:
        """Let an EA in by its session's token; `ended`: also when the session is over. Raises Problem."""
        doors, now = self._doors, self._clock.now()
        try:
            found = session_visit(doors.credentials, doors.ea, visit.headers, visit.address, now, ended=ended)
        except Problem as problem:
            raise self._counted(visit, problem) from None
        self._charge(visit, found.grant.key_id, found.grant.rate_per_minute)
        return found

    def still(self, visit: Visit) -> EaVisit:
        """The session of a connection that was let in, while it may stay. Raises Problem."""
        doors = self._doors
        return session_visit(doors.credentials, doors.ea, visit.headers, visit.address, self._clock.now())

    def guessed(self, visit: Visit) -> Problem:
        """A second secret in the body is wrong."""
        text = "authenticationKey does not belong to the key in Authorization; check both."
        return self._counted(visit, Problem("invalid-credentials", text))

    def charge(self, grant: KeyGrant, action: Action | None, now_ns: int) -> None:
        """Count one more act or frame of an EA that is in; only exits may use the reserve. Raises Problem."""
        keep_ratio = 0.0 if action in EXITS else RESERVE_RATIO
        wait_s = self._rates.take(grant.key_id, grant.rate_per_minute, now_ns, keep_ratio=keep_ratio)
        if wait_s:
            raise _too_many(wait_s)

    def operator(self, visit: Visit) -> OperatorGrant:
        """Let an operator in. Raises Problem."""
        try:
            return operator_grant(self._doors.credentials, visit.headers, self._clock.now())
        except Problem as problem:
            raise self._counted(visit, problem) from None

    def hook(self, visit: Visit, path_part: str) -> HookGrant:
        """Let a webhook in; its secret is in the path. Raises Problem; an unknown hook is 404."""
        text = path_part.removeprefix("kph_")[:HOOK_LENGTH_MAX]
        hook_id, _, secret = text.partition("_")
        found = self._doors.credentials.hook(hook_id)
        digest = found.secret_sha256 if found is not None else None
        if not secret_matches(secret.encode(), digest) or found is None:
            problem = Problem("not-found", "There is no such webhook; copy its address again.")
            raise self._counted(visit, problem)
        if not found.active:
            raise Problem("hook-inactive", "This webhook is switched off; switch it on to use it.")
        if found.allow_list:
            check_allowed(visit.address, found.allow_list)
        self._charge(visit, f"hook/{found.hook_id}", found.rate_per_minute)
        return found

    def inside(self, visit: Visit) -> None:
        """Let a process of our own in: by the internal key, or from this machine where none is set."""
        wanted = self._doors.settings.internal_key_sha256
        if not wanted:
            if not is_loopback(visit.address):
                raise Problem("address-not-allowed", "Ask from this machine, or set an internal key.")
            return
        given = visit.headers.get(b"authorization") or b""
        if not given:
            raise Problem("missing-credentials", "Send Authorization: Bearer <internal key>.")
        if not secret_matches(given.removeprefix(b"Bearer "), wanted):
            raise self._counted(visit, Problem("invalid-credentials", "The internal key is wrong."))

    def signed(self, grant: KeyGrant | HookGrant, visit: Visit, body: bytes, *, required: bool) -> None:
        """Check the signature where the credential asks for one, or where one is sent and can be checked."""
        offered = b"x-tradeagent-signature" in visit.headers.found and bool(grant.signing_secrets)
        if required or offered:
            scope = visit.scope
            now_s = int(self._clock.now().timestamp())
            self._signatures.check(
                grant.signing_secrets, visit.headers, scope["method"], scope["path"], body, now_s
            )

    def settle(self, visit: Visit, grant: KeyGrant | HookGrant, action: Action | None) -> None:
        """Once it is known what is asked: only exits may use the reserve (None: it is not a signal).

        Raises Problem.
        """
        if visit.paid:
            return
        bucket = grant.key_id if isinstance(grant, KeyGrant) else f"hook/{grant.hook_id}"
        keep_ratio = 0.0 if action in EXITS else RESERVE_RATIO
        if wait_s := self._rates.take(bucket, grant.rate_per_minute, visit.now_ns, keep_ratio=keep_ratio):
            raise _too_many(wait_s)

    def _charge(self, visit: Visit, bucket: str, per_minute: int) -> None:
        """Take one from the bucket, but not from the reserve: then the body tells whether it is an exit.

        How often a body may be read for that is bounded too.
        """
        if not self._rates.take(bucket, per_minute, visit.now_ns, keep_ratio=RESERVE_RATIO):
            return
        visit.paid = False
        if wait_s := self._rates.take("?" + bucket, per_minute * LOOKS_RATIO, visit.now_ns):
            raise _too_many(wait_s)

    def _counted(self, visit: Visit, problem: Problem) -> Problem:
        """Slow down only what is wrong: many senders share an address, and a stranger there must not shut out who has
        the right key (P9, R-050)."""
        limit = self._doors.settings.failures_per_minute
        if problem.code in _GUESSES and (
            wait_s := self._rates.take("!" + visit.address, limit, visit.now_ns)
        ):
            return Problem(
                "too-many-failures",
                "Too many wrong credentials came from your address, and this one is wrong too: mend it, then wait.",
                retry_after_s=wait_s,
            )
        return problem


_GUESSES = frozenset({"invalid-credentials", "not-found"})


def _too_many(wait_s: int) -> Problem:
    return Problem(
        "too-many-requests",
        "This credential has used up its requests per minute; slow down. Exits have a reserve.",
        retry_after_s=wait_s,
    )


async def read_body(receive: Receive) -> bytes:
    """The whole body, counted while it streams. Raises Problem."""
    message = await receive()
    if message["type"] != "http.request":
        raise _cut()
    body: bytes = message.get("body", b"")
    if len(body) > BODY_BYTES_MAX:
        raise too_large()
    if not message.get("more_body", False):
        return body
    parts, size_bytes = [body], len(body)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _cut()
        part: bytes = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > BODY_BYTES_MAX:
            raise too_large()
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _cut() -> Problem:
    return Problem("body-incomplete", "The connection ended before the body did; send it again.")
