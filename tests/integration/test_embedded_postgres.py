"""The embedded server: found again, started once, never outside its folder, whatever was left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from cli.local.postgres import EmbeddedPostgres, EmbeddedPostgresError

QUICK = {"fsync": "off"}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kopitra-pg-") as path:
        yield Path(path) / "data"


def answer(dsn: str, text: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(text.encode()).fetchone()
    assert row is not None
    return row[0]


def run(dsn: str, text: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(text.encode())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    with EmbeddedPostgres(folder, QUICK) as server:
        run(server.dsn, "create table t as select 7 as a")
        assert answer(server.dsn, "show listen_addresses") == ""
    assert server.pid is None
    with EmbeddedPostgres(folder, QUICK) as server:
        assert answer(server.dsn, "select a from t") == 7


def test_durability_is_on_unless_a_test_says_otherwise(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert answer(server.dsn, "show fsync") == "on"
        assert answer(server.dsn, "show synchronous_commit") == "on"


def test_a_second_user_attaches_and_leaves_the_server_running(folder: Path) -> None:
    with EmbeddedPostgres(folder, QUICK) as first:
        with EmbeddedPostgres(folder, QUICK) as second:
            assert second.pid == first.pid
        assert answer(first.dsn, "select 1") == 1


def test_a_killed_server_comes_back_with_its_data(folder: Path) -> None:
    first = EmbeddedPostgres(folder, QUICK)
    first.start()
    run(first.dsn, "create table t as select 7 as a")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: first.pid is None)
    with EmbeddedPostgres(folder, QUICK) as second:
        assert answer(second.dsn, "select a from t") == 7


def test_a_stale_pid_file_with_a_foreign_process_is_no_obstacle(folder: Path) -> None:
    with EmbeddedPostgres(folder, QUICK):
        pass
    owner = folder.stat()
    stale = folder / "pgdata" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{folder}/pgdata\n1\n5432\n{folder}/run\n\n  1 1\nready\n")
    os.chown(stale, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(folder, QUICK) as server:
        assert server.pid != os.getpid()
        assert answer(server.dsn, "select 1") == 1


def test_a_server_whose_starter_died_is_adopted_and_stopped(folder: Path) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from cli.local.postgres import EmbeddedPostgres
        EmbeddedPostgres(Path({str(folder)!r}), {{"fsync": "off"}}).start()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60)
    server = EmbeddedPostgres(folder, QUICK)
    left_running = server.pid
    assert left_running is not None
    server.start()
    assert server.pid == left_running
    server.stop()
    assert server.pid is None


def test_everything_it_writes_is_in_its_folder(folder: Path) -> None:
    beside = set(folder.parent.iterdir())
    with EmbeddedPostgres(folder, QUICK):
        assert set(folder.parent.iterdir()) - beside == {folder}
        names = {path.name for path in folder.iterdir()}
    assert names == {"pgdata", "run", "lock", "owner", "server.log"}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_root_may_use_a_folder_that_others_cannot_reach(folder: Path) -> None:
    folder.parent.chmod(0o700)
    with EmbeddedPostgres(folder, QUICK) as server:
        assert answer(server.dsn, "select 1") == 1


def test_a_path_too_long_for_a_socket_is_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="shorter path"):
        EmbeddedPostgres(folder / ("x" * 100)).start()


def test_a_wrong_setting_fails_with_the_servers_own_words(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(folder, {"no_such_setting": "1"}).start()
