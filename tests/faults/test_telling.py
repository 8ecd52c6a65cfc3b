"""H-9: whoever sees a failing run has seed, commit, a small trace and the command that replays it."""

import pytest

from tests.faults import shrink
from tests.faults.__main__ import main
from tests.faults.cuts_engine import claims_are_forgotten, send_again_without_answer
from tests.faults.knife import without
from tests.faults.runs import commit
from tests.faults.sweep import Case, crash_at


def test_a_failing_seed_tells_seed_commit_smallest_trace_and_the_command_h_9(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one whole, made small; those after it by name, so that a bad night ends."""
    monkeypatch.setattr(shrink, "RUNS_MAX", 3)
    with without(send_again_without_answer):
        assert main(["run", "--first", "1", "--seeds", "6", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    failed = [line for line in said.splitlines() if line.startswith("seed ")]
    assert len(failed) > 1
    for line in failed:
        number = line.split()[1]
        assert f"seed {number} at {commit()}: I-" in line
        assert f"replay: make chaos SEED={number}\n" in said
    first, _, others = said.partition(failed[1])
    assert "BROKEN I-01" in first
    assert " -> " in first  # an order that left: the trace is there
    assert "BROKEN" not in others


def test_a_failing_step_of_the_sweep_tells_the_command_that_kills_there_again_h_9(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with without(claims_are_forgotten):
        step = next(n for n in range(60, 400, 20) if crash_at(Case("bracket", n)).violations)
        assert main(["sweep", "--every", "100000", "--offset", str(step), "--jobs", "1"]) == 1
        said = capsys.readouterr().out
        assert f"bracket, killed before step {step} at {commit()}: " in said
        assert "FAULT crash" in said
        assert f"sweep --scenario 'bracket' --step {step}\n" in said
        assert main(["sweep", "--scenario", "bracket", "--step", str(step)]) == 1
        assert "BROKEN " in capsys.readouterr().out
    assert main(["sweep", "--scenario", "bracket", "--step", str(step)]) == 0
