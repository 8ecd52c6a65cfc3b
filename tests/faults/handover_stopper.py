"""A gateway process that stops itself (SIGSTOP) between its last look at an order and the write, when a file asks it.

This is the residual window of R-085; `python -m tests.faults.handover_stopper` is `python -m gateway_container` else.
"""

import os
import signal
import sys
from pathlib import Path

from gateway_container.__main__ import main
from gateway_container.engine.last_look import LastLook
from gateway_container.engine.queue import Place


def stop_once(asked: Path) -> None:
    """The next order that may leave after `asked` exists leaves when the process is continued."""
    look = LastLook.refusal

    def refusal(self: LastLook, place: Place, now_ns: int) -> str | None:
        said = look(self, place, now_ns)
        if said is None and asked.exists():
            asked.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return said

    LastLook.refusal = refusal


if __name__ == "__main__":
    stop_once(Path(os.environ["HANDOVER_STOP_FILE"]))
    sys.exit(main())
