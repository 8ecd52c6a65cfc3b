"""Sealed values open in their own place with their own key, and nowhere else."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from kopitra.store.pool import Database
from kopitra.store.sealing import FileMasterKey, SealBroken, Sealer, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace

NOW = datetime(2026, 1, 5, tzinfo=UTC)
PLAIN = b'{"password": "hunter2"}'


@pytest.fixture
def master(tmp_path: Path) -> FileMasterKey:
    return FileMasterKey(tmp_path / "master.key")


@pytest_asyncio.fixture
async def sealer(db: Database, master: FileMasterKey) -> Sealer:
    for workspace in ("w1", "w2"):
        await create_workspace(db, WorkspaceRow(workspace, "", NOW))
        await add_data_key(db, master, workspace, NOW)
    return await load_sealer(db, master)


def test_what_was_sealed_opens_in_its_place(sealer: Sealer) -> None:
    sealed = sealer.seal("w1", "logins/l1", "credentials", PLAIN)
    assert sealer.open("w1", "logins/l1", "credentials", sealed) == PLAIN
    assert PLAIN not in sealed


def test_the_same_value_never_looks_the_same(sealer: Sealer) -> None:
    assert len({sealer.seal("w1", "r", "f", PLAIN) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "place",
    [("w2", "logins/l1", "credentials"), ("w1", "logins/l2", "credentials"), ("w1", "logins/l1", "signing")],
)
def test_a_value_moved_elsewhere_does_not_open(sealer: Sealer, place: tuple[str, str, str]) -> None:
    sealed = sealer.seal("w1", "logins/l1", "credentials", PLAIN)
    with pytest.raises(SealBroken):
        sealer.open(*place, sealed)


def test_any_changed_byte_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal("w1", "r", "f", PLAIN)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            sealer.open("w1", "r", "f", bytes(changed))
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            sealer.open("w1", "r", "f", sealed[:length])


async def test_a_new_data_key_seals_and_the_old_one_still_opens(
    db: Database, sealer: Sealer, master: FileMasterKey
) -> None:
    old = sealer.seal("w1", "r", "f", PLAIN)
    assert await add_data_key(db, master, "w1", NOW) == 2
    after = await load_sealer(db, master)
    new = after.seal("w1", "r", "f", PLAIN)
    assert after.open("w1", "r", "f", old) == after.open("w1", "r", "f", new) == PLAIN
    with pytest.raises(SealBroken, match="not loaded"):
        sealer.open("w1", "r", "f", new)


async def test_another_master_key_is_refused_with_the_remedy(
    db: Database, sealer: Sealer, tmp_path: Path
) -> None:
    with pytest.raises(SealBroken, match="use the key file"):
        await load_sealer(db, FileMasterKey(tmp_path / "other.key"))


async def test_the_key_file_opens_again_after_a_restart(db: Database, sealer: Sealer, tmp_path: Path) -> None:
    sealed = sealer.seal("w1", "r", "f", PLAIN)
    again = await load_sealer(db, FileMasterKey(tmp_path / "master.key"))
    assert again.open("w1", "r", "f", sealed) == PLAIN


def test_a_workspace_without_a_key_cannot_seal(sealer: Sealer) -> None:
    with pytest.raises(SealBroken, match="no data key"):
        sealer.seal("w3", "r", "f", PLAIN)


def test_the_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    old_umask = os.umask(0)
    try:
        FileMasterKey(path)
    finally:
        os.umask(old_umask)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(SealBroken, match="chmod 600"):
        FileMasterKey(path)


def test_a_key_path_that_cannot_be_a_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """A folder, a path below a file, a link in a ring, a file that cannot be read (by root neither), none at all."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    file = tmp_path / "file"
    file.write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(link)
    for path, remedy in (
        (folder, "is not a file"),
        (file / "key", "KOPITRA_KEY_FILE"),
        (link, "KOPITRA_KEY_FILE"),
        (Path("/proc/self/mem"), "cannot be read"),  # a file with mode 0600 whose first byte nobody can read
    ):
        with pytest.raises(SealBroken, match=remedy):
            FileMasterKey(path)
    with pytest.raises(SealBroken, match="There is no master key"):
        FileMasterKey(tmp_path / "none", must_exist=True)
    assert not (tmp_path / "none").exists()


def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.touch(mode=0o600)
    with pytest.raises(SealBroken, match="0 bytes instead of 32"):
        FileMasterKey(path)
