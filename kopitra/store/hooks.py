"""Webhook addresses for senders that cannot set headers: the path is `<hook id>_<secret>`, stored as
SHA-256.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from kopitra.domain.errors import Conflict
from kopitra.store.keys import SECRET_BYTES, hash_secret
from kopitra.store.pool import Database, Parameters, values_of

_ID_BYTES: Final = 8
RATE_PER_MINUTE: Final = 120
_COLUMNS: Final = """
    workspace, hook_id, leader_id, secret_sha256, preset, template, settings, sealed_signing,
    allow_list::text[], rate_per_minute, active, version"""


@dataclass(frozen=True, slots=True)
class HookRow:
    """A hook without its secret. `preset` names a built-in reader, or `template` maps the sender's text."""

    workspace: str
    hook_id: str
    leader_id: str
    secret_sha256: bytes
    preset: str
    settings: Mapping[str, str]
    template: str = ""
    sealed_signing: bytes | None = None
    allow_list: tuple[str, ...] = ()
    rate_per_minute: int = RATE_PER_MINUTE
    active: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class HookRequest:
    """What a hook is for."""

    workspace: str
    leader_id: str
    preset: str
    settings: Mapping[str, str]
    template: str = ""
    allow_list: tuple[str, ...] = ()
    rate_per_minute: int = RATE_PER_MINUTE


@dataclass(frozen=True, slots=True)
class IssuedHook:
    """The only moment in which `path` (the last part of the URL) exists in clear."""

    row: HookRow
    path: str


def parse_path(path: str) -> tuple[str, bytes] | None:
    """(hook id, SHA-256 of the secret) of the URL's last part, None for anything else."""
    hook_id, _, secret = path.partition("_")
    return (hook_id, hash_secret(secret)) if hook_id and secret and path.isascii() else None


async def issue_hook(db: Database, request: HookRequest) -> IssuedHook:
    """A new address. Raises Conflict for a leader that this workspace does not have."""
    hook_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    row = HookRow(
        workspace=request.workspace,
        hook_id=hook_id,
        leader_id=request.leader_id,
        secret_sha256=hash_secret(secret),
        preset=request.preset,
        settings=request.settings,
        template=request.template,
        allow_list=request.allow_list,
        rate_per_minute=request.rate_per_minute,
    )
    text = """
        insert into hooks (workspace, hook_id, leader_id, secret_sha256, preset, template, settings,
            sealed_signing, allow_list, rate_per_minute, active, version)
        values (%(workspace)s, %(hook_id)s, %(leader_id)s, %(secret_sha256)s, %(preset)s, %(template)s,
            %(settings)s, %(sealed_signing)s, %(allow_list)s::text[]::cidr[], %(rate_per_minute)s, %(active)s,
            %(version)s)"""
    await db.run(text, _values(row))
    return IssuedHook(row, f"{hook_id}_{secret}")


async def change_hook(db: Database, row: HookRow) -> HookRow:
    """Write a row that was read before. Raises Conflict if somebody else changed it since."""
    text = """
        update hooks set leader_id = %(leader_id)s, preset = %(preset)s, template = %(template)s,
            settings = %(settings)s, sealed_signing = %(sealed_signing)s,
            allow_list = %(allow_list)s::text[]::cidr[], rate_per_minute = %(rate_per_minute)s,
            active = %(active)s, version = version + 1
        where workspace = %(workspace)s and hook_id = %(hook_id)s and version = %(version)s"""
    if await db.run(text, _values(row)) != 1:
        raise Conflict(
            f"The hook {row.hook_id} was changed by somebody else, or is not there: read it again."
        )
    return replace(row, version=row.version + 1)


async def list_hooks(db: Database, workspace: str) -> list[HookRow]:
    """All hooks of a workspace."""
    text = f"select {_COLUMNS} from hooks where workspace = %s order by hook_id"
    return await db.rows(HookRow, text, (workspace,))


def _values(row: HookRow) -> Parameters:
    return values_of(row, allow_list=list(row.allow_list))
