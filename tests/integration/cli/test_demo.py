"""The main job, whole: embedded database, both simulators' wires, the gateway, twenty followers."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
#: seconds; well under the minute that the demo promises on a machine of its own
TIMEOUT_S = 110


def _children_of(folder: str) -> list[int]:
    """Processes that still know the demo's folder: by their arguments or their environment."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            said = " ".join(process.cmdline()) + process.environ().get("KOPITRA_DATA_DIR", "")
        except psutil.Error:
            continue
        if folder in said:
            found.append(process.pid)
    return found


def test_every_follower_of_every_signal_ends_as_it_must_and_the_brokers_ledgers_agree() -> None:
    with tempfile.TemporaryDirectory(prefix="kopitra-demo-") as folder:
        command = [sys.executable, "-m", "cli.main", "demo", "--once", "--json", "--data-dir", f"{folder}/d"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        left = _children_of(folder)
    assert done.returncode == 0, done.stderr[-6000:]
    report = json.loads(done.stdout)
    assert set(report) == {
        "signals", "followers", "legs", "approved", "skipped", "refused", "filled", "duplicates", "lost", "hops_ms",
    }  # fmt: skip
    assert (report["signals"], report["followers"], report["legs"]) == (15, 20, 300)
    assert report["approved"] + report["skipped"] + report["refused"] == report["legs"]
    assert (report["duplicates"], report["lost"]) == (0, 0)
    assert {"detection", "normalise_publish", "dispatch", "broker", "collect_publish", "end_to_end"} == set(
        report["hops_ms"]
    )
    assert left == []
