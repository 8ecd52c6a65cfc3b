"""Keys of expert advisors: `kpt_<id>_<secret>`, shown once, stored as SHA-256 (the secret is random, not
chosen).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kopitra.domain.errors import Conflict
from kopitra.store.pool import Database, Session, values_of
from kopitra.store.sealing import Sealer

PREFIX: Final = "kpt"
#: bytes of randomness in a secret and in a signing secret
SECRET_BYTES: Final = 32
_ID_BYTES: Final = 8
LIFETIME: Final = timedelta(days=30)
#: how long a rotated key goes on working beside its successor
OVERLAP: Final = timedelta(days=7)
RATE_PER_MINUTE: Final = 600
_COLUMNS: Final = """
    workspace, key_id, leader_id, account, label, secret_sha256, sealed_signing, require_signature,
    allow_list::text[], rate_per_minute, created_at, expires_at, revoked_at, replaces"""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its secret. `account` is what X-TradeAgent-Account must say; `allow_list` are CIDRs."""

    workspace: str
    key_id: str
    leader_id: str
    account: str
    label: str
    secret_sha256: bytes
    created_at: datetime
    expires_at: datetime
    sealed_signing: bytes | None = None
    require_signature: bool = False
    allow_list: tuple[str, ...] = ()
    rate_per_minute: int = RATE_PER_MINUTE
    revoked_at: datetime | None = None
    replaces: str | None = None

    def valid_at(self, now: datetime) -> bool:
        """Neither expired nor revoked."""
        return now < self.expires_at and (self.revoked_at is None or now < self.revoked_at)


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a key is for."""

    workspace: str
    leader_id: str
    account: str
    label: str
    require_signature: bool = False
    allow_list: tuple[str, ...] = ()
    rate_per_minute: int = RATE_PER_MINUTE


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """The only moment in which `token` and `signing_secret` exist in clear."""

    row: KeyRow
    token: str
    signing_secret: str


def parse_token(token: str) -> tuple[str, bytes] | None:
    """(key id, SHA-256 of the secret) of a token, None for anything else."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not key_id or not secret or not token.isascii():
        return None
    return key_id, hash_secret(secret)


def hash_secret(secret: str) -> bytes:
    """How a secret is stored."""
    return hashlib.sha256(secret.encode()).digest()


def same_secret(stored: bytes, presented: bytes) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(stored, presented)


async def issue_key(db: Database, sealer: Sealer, request: KeyRequest, now: datetime) -> IssuedKey:
    """A new key for 30 days. Raises Conflict for a leader that this workspace does not have."""
    issued = _make(sealer, request, now, replaces=None)
    async with db.transaction() as session:
        await _insert(session, issued.row)
    return issued


async def rotate_key(db: Database, sealer: Sealer, workspace: str, key_id: str, now: datetime) -> IssuedKey:
    """A successor with the same rights; the old key works for OVERLAP more. Raises Conflict for a dead
    key.
    """
    async with db.transaction() as session:
        text = f"select {_COLUMNS} from ea_keys where workspace = %s and key_id = %s for update"
        old = await session.row(KeyRow, text, (workspace, key_id))
        if old is None or not old.valid_at(now):
            raise Conflict(f"The key {key_id} is not valid any more: issue a new one.")
        request = KeyRequest(
            workspace, old.leader_id, old.account, old.label, old.require_signature, old.allow_list,
            old.rate_per_minute,
        )  # fmt: skip
        issued = _make(sealer, request, now, replaces=key_id)
        await _insert(session, issued.row)
        shorten = "update ea_keys set expires_at = least(expires_at, %s) where workspace = %s and key_id = %s"
        await session.run(shorten, (now + OVERLAP, workspace, key_id))
    return issued


async def revoke_key(db: Database, workspace: str, key_id: str, now: datetime) -> bool:
    """End a key now; False if there is none, True also when it was ended before."""
    text = """
        update ea_keys set revoked_at = least(coalesce(revoked_at, %s), %s)
        where workspace = %s and key_id = %s"""
    return await db.run(text, (now, now, workspace, key_id)) == 1


async def list_keys(db: Database, workspace: str) -> list[KeyRow]:
    """All keys of a workspace, newest first."""
    text = f"select {_COLUMNS} from ea_keys where workspace = %s order by created_at desc, key_id"
    return await db.rows(KeyRow, text, (workspace,))


def _make(sealer: Sealer, request: KeyRequest, now: datetime, *, replaces: str | None) -> IssuedKey:
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    signing = secrets.token_urlsafe(SECRET_BYTES)
    row = KeyRow(
        workspace=request.workspace,
        key_id=key_id,
        leader_id=request.leader_id,
        account=request.account,
        label=request.label,
        secret_sha256=hash_secret(secret),
        created_at=now,
        expires_at=now + LIFETIME,
        sealed_signing=sealer.seal(request.workspace, f"ea_keys/{key_id}", "signing", signing.encode()),
        require_signature=request.require_signature,
        allow_list=request.allow_list,
        rate_per_minute=request.rate_per_minute,
        replaces=replaces,
    )
    return IssuedKey(row, f"{PREFIX}_{key_id}_{secret}", signing)


def signing_secret(sealer: Sealer, row: KeyRow) -> bytes | None:
    """The HMAC secret of a key, None where it has none."""
    if row.sealed_signing is None:
        return None
    return sealer.open(row.workspace, f"ea_keys/{row.key_id}", "signing", row.sealed_signing)


async def _insert(session: Session, row: KeyRow) -> None:
    text = """
        insert into ea_keys (workspace, key_id, leader_id, account, label, secret_sha256, sealed_signing,
            require_signature, allow_list, rate_per_minute, created_at, expires_at, revoked_at, replaces)
        values (%(workspace)s, %(key_id)s, %(leader_id)s, %(account)s, %(label)s, %(secret_sha256)s,
            %(sealed_signing)s, %(require_signature)s, %(allow_list)s::text[]::cidr[], %(rate_per_minute)s,
            %(created_at)s, %(expires_at)s, %(revoked_at)s, %(replaces)s)"""
    await session.run(text, values_of(row, allow_list=list(row.allow_list)))
