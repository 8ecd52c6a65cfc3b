"""The local exit file on a real disk."""

import asyncio
import stat
from pathlib import Path

import pytest

from gateway_container.exit_writer import LocalExitFile


async def test_frames_are_appended_in_order_and_survive_the_process(tmp_path: Path) -> None:
    """R-072: durable once the future says so."""
    file = LocalExitFile(tmp_path, "main")
    written = [file.append(b"%d;" % n) for n in range(50)]
    assert all([await done for done in written])
    file.close()
    assert await LocalExitFile(tmp_path, "main").load() == b"".join(b"%d;" % n for n in range(50))
    assert stat.S_IMODE((tmp_path / "exits-main.bin").stat().st_mode) == 0o600


async def test_a_cleared_file_begins_anew_and_keeps_what_comes_later(tmp_path: Path) -> None:
    file = LocalExitFile(tmp_path, "main")
    await file.append(b"old")
    await file.clear()
    assert await file.load() == b""
    await file.append(b"new")
    assert await file.load() == b"new"


async def test_a_frame_that_is_still_being_written_is_cleared_and_a_later_one_stays(tmp_path: Path) -> None:
    """R-072: the journal has it before the disk has; left in the file it would act again at the next start."""
    file = LocalExitFile(tmp_path, "main")
    written = file.append(b"old")
    await file.clear()
    assert (await written, await file.load()) == (True, b"")
    first = file.append(b"first;")
    clearing = asyncio.get_running_loop().create_task(file.clear())
    await asyncio.sleep(0)
    later = file.append(b"later;")
    await clearing
    assert (await first, await later) == (True, True)
    assert (await LocalExitFile(tmp_path, "main").load()).endswith(b"later;")


async def test_what_another_process_has_appended_meanwhile_stays(tmp_path: Path) -> None:
    """R-072: a predecessor in its grace writes on while its successor takes the file in."""
    file, old = LocalExitFile(tmp_path, "main"), LocalExitFile(tmp_path, "main")
    await old.append(b"seen;")
    await file.load()
    await old.append(b"late;")
    await file.clear()
    assert await LocalExitFile(tmp_path, "main").load() == b"seen;late;"


async def test_a_disk_that_refuses_is_told_and_leaves_no_torn_frame(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")  # no folder can be made here
    file = LocalExitFile(tmp_path / "data", "main")
    assert await file.append(b"x") is False
    (tmp_path / "data").unlink()
    assert await file.append(b"y") is True
    assert await file.load() == b"y"


async def test_a_copy_is_kept_aside_under_another_name(tmp_path: Path) -> None:
    """R-072: what is put meanwhile is in the file itself, so that a crash loses nothing of it."""
    file = LocalExitFile(tmp_path, "main")
    await file.append(b"damaged")
    kept = await file.copy_aside("kept-7")
    await file.append(b";later")
    assert (tmp_path / Path(kept).name).read_bytes() == b"damaged"
    assert await file.load() == b"damaged;later"
    await file.clear()
    assert await file.load() == b""


async def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "exits-main.bin").mkdir()
    with pytest.raises(OSError, match="directory"):
        await LocalExitFile(tmp_path, "main").load()
