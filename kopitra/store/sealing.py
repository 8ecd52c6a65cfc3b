"""Envelope encryption: AES-256-GCM under a data key per workspace, which a master key outside the database
wraps.

The additional data binds a ciphertext to its place (workspace, record, field, key version): moved to
another row it does not open. Keys live in memory after the start; no order ever waits for a vault.
"""

import os
import secrets
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kopitra.domain.errors import StoreError
from kopitra.store.pool import Database, values_of

#: bytes
KEY_LENGTH: Final = 32
_NONCE_LENGTH: Final = 12
_LAYOUT: Final = 1
_header: Final = struct.Struct("!BI")


class SealBroken(StoreError):
    """A sealed value or a key cannot be opened; the message says which and what to do."""

    code = "seal-broken"


class MasterKey(Protocol):
    """Wraps data keys. Local: a file; in Azure: a Key Vault key."""

    @property
    def name(self) -> str:
        """Which key; stored beside what it wrapped."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key; `context` must be the same to unwrap."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The data key again. Raises SealBroken."""
        ...


class FileMasterKey:
    """A key file with mode 0600, made at first use unless it must be there. Raises SealBroken."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self._path = path
        try:
            self._key = AESGCM(_read_key(path, must_exist) or _make_key(path))
        except OSError as error:
            why = f"cannot be read or made ({error.strerror}): check KOPITRA_KEY_FILE and its owner"
            raise SealBroken(f"The master key {path} {why}.") from None

    @property
    def name(self) -> str:
        """The file's own name: a key that was copied to another folder still opens."""
        return f"file:{self._path.name}"

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        return nonce + self._key.encrypt(nonce, key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._key.decrypt(wrapped[:_NONCE_LENGTH], wrapped[_NONCE_LENGTH:], context)
        except InvalidTag:
            raise SealBroken(
                f"The master key {self._path} does not open this database's data keys: "
                "use the key file that the database was made with."
            ) from None


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_LENGTH)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
    return key


def _read_key(path: Path, must_exist: bool) -> bytes:
    """The key; nothing when there is none and it may be made. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if must_exist:
            raise SealBroken(
                f"There is no master key {path}: set KOPITRA_KEY_FILE to the one that the gateway uses."
            ) from None
        return b""
    if not stat.S_ISREG(mode):
        raise SealBroken(f"The master key {path} is not a file: set KOPITRA_KEY_FILE to the key file.")
    if mode & 0o077:
        text = f"Others can read the master key {path} (mode {mode & 0o777:04o}): run `chmod 600 {path}`."
        raise SealBroken(text)
    key = path.read_bytes()
    if len(key) != KEY_LENGTH:
        raise SealBroken(f"The master key {path} has {len(key)} bytes instead of {KEY_LENGTH}: restore it.")
    return key


@dataclass(frozen=True, slots=True)
class DataKeyRow:
    """A wrapped data key."""

    workspace: str
    key_version: int
    master: str
    wrapped: bytes
    created_at: datetime


class Sealer:
    """Seals and opens, in memory. `keys[workspace][version]` are 32-byte data keys; the highest version
    seals.
    """

    def __init__(self, keys: Mapping[str, Mapping[int, bytes]]) -> None:
        self._keys = {
            (workspace, version): AESGCM(key)
            for workspace, versions in keys.items()
            for version, key in versions.items()
        }
        self._newest = {workspace: max(versions) for workspace, versions in keys.items() if versions}

    def seal(self, workspace: str, record: str, field: str, plain: bytes) -> bytes:
        """Encrypt one field of one record under a fresh 96-bit nonce."""
        version = self._newest.get(workspace)
        if version is None:
            raise SealBroken(
                f"The workspace {workspace} has no data key: load the sealer again after making one."
            )
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        sealed = self._keys[workspace, version].encrypt(
            nonce, plain, _place(workspace, record, field, version)
        )
        return _header.pack(_LAYOUT, version) + nonce + sealed

    def open(self, workspace: str, record: str, field: str, sealed: bytes) -> bytes:
        """Decrypt. Raises SealBroken if it was made for another place, altered, or its key is not loaded."""
        where = f"{field} of {record} in workspace {workspace}"
        if len(sealed) < _header.size + _NONCE_LENGTH or sealed[0] != _LAYOUT:
            raise SealBroken(f"The sealed {where} has an unknown layout: enter it again.")
        version: int = _header.unpack_from(sealed)[1]
        key = self._keys.get((workspace, version))
        if key is None:
            raise SealBroken(
                f"Data key {version} of workspace {workspace} is not loaded: restore table data_keys."
            )
        nonce_end = _header.size + _NONCE_LENGTH
        try:
            return key.decrypt(
                sealed[_header.size : nonce_end],
                sealed[nonce_end:],
                _place(workspace, record, field, version),
            )
        except InvalidTag:
            raise SealBroken(f"The sealed {where} was altered or moved: enter it again.") from None


def _place(workspace: str, record: str, field: str, version: int) -> bytes:
    return f"{workspace}\0{record}\0{field}\0{version}".encode()


def _context(workspace: str, version: int) -> bytes:
    return f"data key\0{workspace}\0{version}".encode()


async def add_data_key(db: Database, master: MasterKey, workspace: str, now: datetime) -> int:
    """Make the next data key of a workspace and return its version. What older keys sealed stays readable."""
    versions = [row.key_version for row in await _data_keys(db) if row.workspace == workspace]
    version = max(versions, default=0) + 1
    wrapped = await master.wrap(secrets.token_bytes(KEY_LENGTH), _context(workspace, version))
    text = """
        insert into data_keys (workspace, key_version, master, wrapped, created_at)
        values (%(workspace)s, %(key_version)s, %(master)s, %(wrapped)s, %(created_at)s)"""
    await db.run(text, values_of(DataKeyRow(workspace, version, master.name, wrapped, now)))
    return version


async def load_sealer(db: Database, master: MasterKey) -> Sealer:
    """Unwrap every data key, once at start. Raises SealBroken if the master key is another one."""
    keys: dict[str, dict[int, bytes]] = {}
    for row in await _data_keys(db):
        key = await master.unwrap(row.wrapped, _context(row.workspace, row.key_version))
        keys.setdefault(row.workspace, {})[row.key_version] = key
    return Sealer(keys)


async def _data_keys(db: Database) -> list[DataKeyRow]:
    text = "select workspace, key_version, master, wrapped, created_at from data_keys order by 1, 2"
    return await db.rows(DataKeyRow, text)
