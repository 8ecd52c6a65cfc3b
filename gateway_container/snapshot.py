"""`python -m gateway_container.snapshot`: makes one snapshot of the book, prints the number of its last row, and ends.

The gateway starts it (`snapshot_process.py`), with its own settings. It gives way to the gateway, and outlives neither
the gateway nor its own time.
"""

import contextlib
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Final

#: seconds after which it ends, whatever it waits for
LIMIT_S: Final = 600
#: steps of niceness below the gateway
NICE: Final = 10
#: rows folded in one turn: nothing else waits for one
ROWS_PER_TURN: Final = 1_000
#: Linux's number for "a signal when my parent dies"
_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Exit codes: 0 with the number on standard output, 2 with the reason on standard error."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _go_first()
    signal.alarm(LIMIT_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's: it ends us
    os.nice(NICE)
    gc.disable()  # a third of the time, and a book is no garbage
    return _run()


def _go_first() -> None:
    """Where memory runs out, the kernel ends us and not the gateway."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _run() -> int:
    # Half a second of work: only here, so that it gives way, too.
    import asyncio

    from kopitra.domain.errors import KopitraError
    from kopitra.settings import Settings
    from kopitra.telemetry import configure_logging

    settings = Settings()
    configure_logging(settings.log_level)
    if settings.database_url is None:
        sys.stderr.write("DATABASE_URL is not set: set it to the gateway's.\n")
        return 2
    try:
        seq = asyncio.run(_save(settings.database_url.get_secret_value(), settings.shard))
    except KopitraError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 2
    sys.stdout.write(f"{seq}\n")
    return 0


async def _save(dsn: str, shard: str) -> int:
    from gateway_container.engine.snapshots import save_book
    from kopitra.clock import SystemClock
    from kopitra.store.pool import Database
    from kopitra.store.postgres_shelf import PostgresShelf

    async with Database(dsn, "kopitra snapshot") as db:
        return await save_book(PostgresShelf(db), shard, SystemClock(), ROWS_PER_TURN)


if __name__ == "__main__":
    sys.exit(main())
