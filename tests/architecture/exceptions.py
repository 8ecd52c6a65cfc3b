"""The few places where a rule does not hold, each with its reason. A line that is no longer needed fails."""

from collections.abc import Mapping

#: rule -> path -> why
EXCEPTIONS: Mapping[str, Mapping[str, str]] = {
    "reach": {
        "gateway_container/compose.py": "binds the listening socket itself, so that port 0 works and can be told",
    },
    "sleep": {
        "tests/faults/rude_session.py": "virtual time: the delay is the network's, and takes none",
        "tests/faults/test_virtual_loop.py": "virtual time is what it tests",
        "tests/faults/world.py": "virtual time: what happens when is the scenario itself",
        "tests/unit/engine/test_sessions.py": "virtual time: what happens when is the scenario itself",
        "tests/faults/wire/chaos_proxy.py": "a slow line is what it plays: the delay is the fault",
    },
    "threads": {
        "gateway_container/exit_writer.py": "an fsync stops the loop: one worker, in order, bounded by its caller",
    },
    "printing": {
        "gateway_container/__main__.py": "a process tells its parent on standard output that it is ready",
        "gateway_container/snapshot.py": "a process tells its parent what came of it",
    },
}
