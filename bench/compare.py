"""What changed against the committed results: `python -m bench.compare [OLD.json [NEW.json]]`.

Without arguments: bench/results.json as last committed, against the file as it stands now.
"""

import subprocess
import sys
from pathlib import Path

from bench.goals import GOALS, Goal, Sense
from bench.report import Result, read
from bench.rig import ROOT

RESULTS = ROOT / "bench" / "results.json"
#: Below this a change is the machine's mood.
NOISE = 0.10


def judged(result: Result) -> float | None:
    return result.value if result.ratio is None else result.ratio


def change(goal: Goal, old: Result | None, new: Result) -> str:
    """One line: before, after, by how much, and whether that is for the better."""
    before, after = (judged(old) if old else None), judged(new)
    if before is None or after is None or before == 0:
        return f"{goal.name}: {_text(before)} -> {_text(after)}"
    factor = after / before - 1
    better = (factor < 0) == (goal.sense is Sense.AT_MOST)
    word = "as before" if abs(factor) < NOISE else "better" if better else "WORSE"
    lost = "; the goal is no longer met" if old and old.met and new.met is False else ""
    return f"{goal.name}: {_text(before)} -> {_text(after)} ({factor:+.0%}, {word}){lost}"


def compare(old: list[Result], new: list[Result]) -> list[str]:
    before = {result.name: result for result in old}
    after = {result.name: result for result in new}
    return [change(goal, before.get(goal.name), after[goal.name]) for goal in GOALS if goal.name in after]


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def committed() -> bytes:
    shown = subprocess.run(
        ["git", "show", f"HEAD:{RESULTS.relative_to(ROOT)}"], cwd=ROOT, capture_output=True, check=False
    )
    return shown.stdout if shown.returncode == 0 else b"[]"


def main(argv: list[str]) -> None:
    old = Path(argv[0]).read_bytes() if argv else committed()
    new = Path(argv[1] if len(argv) > 1 else RESULTS).read_bytes()
    print("\n".join(compare(read(old), read(new))))


if __name__ == "__main__":
    main(sys.argv[1:])
