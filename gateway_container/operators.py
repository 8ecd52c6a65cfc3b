"""Operators of a machine without an identity provider: their keys in one file, mode 0600, secrets as SHA-256 only.

The file stands until operators sign in through the workspace's identity provider; it is never needed in Azure.
"""

import json
import os
import secrets
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog

from gateway_container.api.doors import OperatorGrant, Role
from kopitra.domain.errors import Corrupt

#: operators in one file
OPERATORS_MAX: Final = 1_000
#: days that a key lives
LIFETIME_DAYS: Final = 90

_log = structlog.get_logger("kopitra.operators")


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    key_id: str
    workspace: str
    name: str
    role: Role
    secret_sha256: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]


_decode = msgspec.json.Decoder(list[_Stored]).decode


def load_operators(path: Path) -> tuple[OperatorGrant, ...]:
    """Everyone in the file; nobody when there is none. Raises Corrupt for one that is readable by others or damaged."""
    if not path.exists():
        return ()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Corrupt(f"{path} can be read by others: run `chmod 600 {path}`.")
    try:
        return tuple(
            OperatorGrant(o.key_id, o.workspace, o.name, o.role, bytes.fromhex(o.secret_sha256), o.expires_at)
            for o in _decode(path.read_bytes())
        )
    except (msgspec.DecodeError, ValueError) as error:  # no JSON of ours, or a digest that is not hexadecimal
        raise Corrupt(
            f"{path} cannot be read ({error}): restore it, or delete it and create operators anew."
        ) from error


class OperatorsFile:
    """The operators of a file as it was read last: one that cannot be read stops neither exits nor switches (P5)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[OperatorGrant, ...] = ()
        self._wrong = ""  # why the last read failed; told once

    def read(self) -> tuple[OperatorGrant, ...]:
        """Everyone in the file; those read last (nobody at the start) while it cannot be read."""
        try:
            self._known, self._wrong = load_operators(self._path), ""
        except (Corrupt, OSError) as error:
            wrong = error.message if isinstance(error, Corrupt) else str(error)
            if wrong != self._wrong:
                _log.error("operators_not_read", error=wrong, kept=len(self._known))
            self._wrong = wrong
        return self._known

    def mended(self) -> bool:
        """The last read failed, and one does not now: nobody else tells of a file that was repaired."""
        if not self._wrong:
            return False
        self.read()
        return not self._wrong


def make_operator(workspace: str, name: str, role: Role, now: datetime) -> tuple[OperatorGrant, str]:
    """A key, to be added to the file, and its token, to be shown this once."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    grant = OperatorGrant(
        key_id, workspace, name, role, sha256(secret.encode()).digest(), now + timedelta(days=LIFETIME_DAYS)
    )
    return grant, f"kop_{key_id}_{secret}"


def add_operator(path: Path, grant: OperatorGrant) -> None:
    """Add a key to the file."""
    known = load_operators(path)
    if len(known) >= OPERATORS_MAX:
        raise Corrupt(f"{path} holds {OPERATORS_MAX} operators already: remove some.")
    _write(path, (*known, grant))


def _write(path: Path, operators: Sequence[OperatorGrant]) -> None:
    rows = [
        {
            "key_id": o.key_id,
            "workspace": o.workspace,
            "name": o.name,
            "role": o.role,
            "secret_sha256": o.secret_sha256.hex(),
            "expires_at": o.expires_at.isoformat(),
        }
        for o in operators
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(rows, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
