"""Who calls: EA keys and operator keys, checked in memory.

A key reads `<kind>_<id>_<secret>`: `kpt` for EAs, `kps` for their sessions, `kop` for operators. The id is public and
finds the grant; of the secret only the SHA-256 is known, and it is compared in constant time. An unknown id costs the
same.
"""

import hmac
import re
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeVar

from gateway_container.api.addresses import check_allowed
from gateway_container.api.doors import Credentials, KeyGrant, OperatorGrant
from gateway_container.api.ea_door import EaDoor, EaSession
from gateway_container.api.headers import Headers
from gateway_container.api.problems import Problem

#: bytes of an Authorization header
AUTHORIZATION_BYTES_MAX: Final = 256
_BEARER: Final = re.compile(rb"[Bb]earer +([a-z]{1,8})_([A-Za-z0-9.-]{1,64})_([!-~]+)")
_NO_DIGEST: Final = sha256(b"no such key").digest()


class _Expiring(Protocol):
    @property
    def expires_at(self) -> datetime: ...
    @property
    def revoked_at(self) -> datetime | None: ...
    @property
    def secret_sha256(self) -> bytes: ...


_Grant = TypeVar("_Grant", bound=_Expiring)


class EaVisit(NamedTuple):
    """An EA behind the token of its session; `grant` is that of its key."""

    session: EaSession
    grant: KeyGrant


class Bearer(NamedTuple):
    """The parts of a presented key."""

    kind: bytes
    public_id: str
    secret: bytes


def bearer_of(headers: Headers) -> Bearer:
    """The key in the Authorization header. Raises Problem."""
    given = headers.get(b"authorization")
    if given is None:
        raise Problem("missing-credentials", "Send Authorization: Bearer <key>.")
    found = _BEARER.fullmatch(given) if len(given) <= AUTHORIZATION_BYTES_MAX else None
    if found is None:
        raise _wrong()
    kind, public_id, secret = found.groups()
    return Bearer(kind, public_id.decode(), secret)


def ea_grant(
    credentials: Credentials, sessions: EaDoor, headers: Headers, address: str, now: datetime
) -> KeyGrant:
    """The grant of an EA key or of an approved session, for the account it names and from where it may be used.

    Raises Problem.
    """
    bearer = bearer_of(headers)
    if bearer.kind == b"kps":
        visit = session_visit(credentials, sessions, headers, address, now)
        check_approved(visit.session)
        return visit.grant
    found = credentials.key(bearer.public_id) if bearer.kind == b"kpt" else None
    return _placed(_checked(found, bearer.secret, now), headers, address)


def session_visit(
    credentials: Credentials,
    sessions: EaDoor,
    headers: Headers,
    address: str,
    now: datetime,
    *,
    ended: bool = False,
) -> EaVisit:
    """The session of a token, while its key is good; `ended`: one that has ended will do. Raises Problem."""
    bearer = bearer_of(headers)
    session = sessions.session(bearer.public_id) if bearer.kind == b"kps" else None
    matches = secret_matches(bearer.secret, session.token_sha256 if session is not None else None)
    if session is None or not matches:
        raise Problem(
            "invalid-credentials", "The session token is unknown or wrong; open a session by POST /sessions."
        )
    grant = credentials.key(session.key_id)
    if grant is None:
        raise Problem("revoked-credentials", "The key of this session was revoked; ask for a new one.")
    _check_valid(grant, now)
    _placed(grant, headers, address)
    if session.status == "ended" and not ended:
        raise Problem(
            "session-ended", f"This session has ended ({session.reason}); open another by POST /sessions."
        )
    return EaVisit(session, grant)


def check_approved(session: EaSession) -> None:
    """Raise Problem for a session that nobody has approved yet: it may live, but not trade."""
    if session.pending:
        raise Problem(
            "session-pending",
            "Nobody has approved this session yet: keep what you have to say until InitAck is in the outbox.",
        )


def _placed(grant: KeyGrant, headers: Headers, address: str) -> KeyGrant:
    if grant.allow_list:
        check_allowed(address, grant.allow_list)
    account = headers.get(b"x-tradeagent-account")
    if not account:
        raise Problem(
            "missing-account-header", "Send X-TradeAgent-Account with the account this key was made for."
        )
    if account != grant.account.encode():
        raise Problem(
            "account-not-allowed", "This key does not speak for the account in X-TradeAgent-Account."
        )
    return grant


def operator_grant(credentials: Credentials, headers: Headers, now: datetime) -> OperatorGrant:
    """The grant of an operator key. Raises Problem."""
    bearer = bearer_of(headers)
    return _checked(
        credentials.operator(bearer.public_id) if bearer.kind == b"kop" else None, bearer.secret, now
    )


def secret_matches(secret: bytes, digest: bytes | None) -> bool:
    """True when the secret has this SHA-256; takes as long for None."""
    return hmac.compare_digest(sha256(secret).digest(), digest or _NO_DIGEST) and digest is not None


def _checked(grant: _Grant | None, secret: bytes, now: datetime) -> _Grant:
    matches = secret_matches(secret, grant.secret_sha256 if grant is not None else None)
    if grant is None or not matches:
        raise _wrong()
    _check_valid(grant, now)
    return grant


def _check_valid(grant: _Expiring, now: datetime) -> None:
    if grant.revoked_at is not None and grant.revoked_at <= now:
        raise Problem("revoked-credentials", "This key was revoked; ask for a new one.")
    if grant.expires_at <= now:
        raise Problem("expired-credentials", "This key has expired; rotate it.")


def _wrong() -> Problem:
    return Problem("invalid-credentials", "The key is unknown or wrong; check it, or ask for a new one.")
