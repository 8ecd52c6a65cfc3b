"""The local exit file on a disk: appended and fsynced beside the event loop, in order, several frames per fsync."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

_log = structlog.get_logger("kopitra.exits")


class LocalExitFile:
    """One file of one shard, mode 0600. Its one worker keeps the order of appends and clears."""

    def __init__(self, folder: Path, shard: str) -> None:
        self._path = folder / f"exits-{shard}.bin"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="exit file")
        #: frames that the worker has not taken yet; bounded by the caller, who bounds the file
        self._frames: list[tuple[bytes, asyncio.Future[bool]]] = []
        #: bytes of frames whose fate is not known yet, and the fate of the last one
        self._due = 0
        self._last: asyncio.Future[bool] | None = None
        self._busy = False
        #: bytes of the file that this object has read or written; more are somebody else's
        self._known = 0
        self._task: asyncio.Task[None] | None = None

    def append(self, frame: bytes) -> asyncio.Future[bool]:
        """Durable when the future says True; False: the disk refused, and the file is as it was."""
        loop = asyncio.get_running_loop()
        written = loop.create_future()
        self._frames.append((frame, written))
        self._due += len(frame)
        self._last = written
        if not self._busy:
            self._busy = True
            self._task = loop.create_task(self._write())
        return written

    async def _write(self) -> None:
        while self._frames:
            batch, self._frames = self._frames, []
            data = b"".join(frame for frame, _ in batch)
            done = await self._run(_append, data)
            self._known += len(data) if done else 0
            self._due -= len(data)
            for _, written in batch:
                if not written.done():
                    written.set_result(done)
        self._busy = False

    async def _run(self, work: Callable[[Path, bytes], None], data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, work, self._path, data)
        except OSError as error:
            _log.error("exit_file_failed", path=str(self._path), error=str(error))
            return False
        return True

    async def load(self) -> bytes:
        """Everything in it; nothing when there is no file. Raises OSError when it cannot be read."""
        data = await asyncio.get_running_loop().run_in_executor(self._worker, _load, self._path)
        self._known = len(data)
        return data

    async def clear(self) -> None:
        """The journal holds all of it: begin anew. A file that a predecessor in its grace has made longer meanwhile
        stays for the next start, which takes every record once."""
        # A frame that is still being written was appended before: it goes too, be the disk ever so slow.
        known, last = self._known + self._due, self._last
        if last is not None and not last.done():
            await asyncio.wait([last])
        cleared = await asyncio.get_running_loop().run_in_executor(self._worker, _clear, self._path, known)
        if cleared:
            self._known -= known

    async def copy_aside(self, label: str) -> str:
        """Keep a copy under another name for a person; the name. Raises OSError."""
        kept = self._path.with_suffix(f".{label}")
        await asyncio.get_running_loop().run_in_executor(self._worker, _copy, self._path, kept)
        return str(kept)

    def close(self) -> None:
        """Let the worker end."""
        self._worker.shutdown(wait=False)


def _append(path: Path, data: bytes) -> None:
    """Append and fsync; a partial write is taken back, so that no later frame stands behind a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(handle).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)
    if before == 0:
        _sync_folder(path)


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _clear(path: Path, known: int) -> bool:
    try:
        if path.exists():
            if path.stat().st_size != known:
                return False
            path.unlink()
            _sync_folder(path)
    except OSError as error:
        _log.error("exit_file_failed", path=str(path), error=str(error))
        return False
    return True


def _copy(path: Path, kept: Path) -> None:
    kept.unlink(missing_ok=True)
    _append(kept, path.read_bytes())


def _sync_folder(path: Path) -> None:
    """A new or removed name is durable once its folder is."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
