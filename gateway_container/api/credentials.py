"""Who calls: EA keys and operator keys, checked in memory.

A key reads `<kind>_<id>_<secret>`: `kpt` for EAs, `kop` for operators. The id is public and finds the grant;
of the secret only the SHA-256 is known, and it is compared in constant time. An unknown id costs the same.
"""

import hmac
import re
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeVar

from gateway_container.api.addresses import check_allowed
from gateway_container.api.doors import Credentials, KeyGrant, OperatorGrant
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


def ea_grant(credentials: Credentials, headers: Headers, address: str, now: datetime) -> KeyGrant:
    """The grant of an EA key, for the account it names and from where it may be used. Raises Problem."""
    bearer = bearer_of(headers)
    found = credentials.key(bearer.public_id) if bearer.kind == b"kpt" else None
    grant = _checked(found, bearer.secret, now)
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
    if grant.revoked_at is not None and grant.revoked_at <= now:
        raise Problem("revoked-credentials", "This key was revoked; ask for a new one.")
    if grant.expires_at <= now:
        raise Problem("expired-credentials", "This key has expired; rotate it.")
    return grant


def _wrong() -> Problem:
    return Problem("invalid-credentials", "The key is unknown or wrong; check it, or ask for a new one.")
