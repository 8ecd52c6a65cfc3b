"""`python -m bench.readme`: write bench/results.json into the README, between its two marks."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare import RESULTS
from bench.goals import GOALS, Goal
from bench.report import Result, read, verdict
from bench.rig import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NOT_YET = (
    "Not measured in this checkout. `make bench` measures and writes `bench/results.json`;\n"
    "`.venv/bin/python -m bench.readme` then puts the table here."
)


def block(results: Sequence[Result]) -> str:
    """The table as Markdown, one row per goal that was measured; without any, how to get one."""
    goals = {goal.name: goal for goal in GOALS}
    rows = [_row(goals[r.name], r) for r in results if r.name in goals and r.value is not None]
    if not rows:
        return NOT_YET
    head = "| What | Measured | Floor | Ratio | Goal | |\n|---|---:|---:|---:|---:|---|"
    return "\n".join((head, *rows))


def filled(page: str, text: str) -> str:
    """The page with `text` between the marks. ValueError when they are not there, once and in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{README.name} needs one {BEGIN} and after it one {END}: put them back.")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _row(goal: Goal, result: Result) -> str:
    floor = "" if result.floor is None else f"{_text(result.floor)} ({goal.per})"
    size = f" ({result.size})" if result.size else ""
    cells = (
        goal.name + size,
        f"{_text(result.value)} {result.unit}",
        floor,
        _text(result.ratio),
        f"{goal.sense} {result.goal:.4g}",
        verdict(goal, result),
    )
    return f"| {' | '.join(cells)} |"


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(path: Path = RESULTS) -> int:
    """Exit code 0: the README is up to date."""
    results = read(path.read_bytes()) if path.exists() else []
    README.write_text(filled(README.read_text(), block(results)))
    print(f"{README} says what {path.name} says" if results else f"{path} does not exist: run `make bench`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
