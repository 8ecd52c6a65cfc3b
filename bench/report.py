"""Figures against goals: the table on the screen and bench/results.json."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.goals import GOALS, Goal
from bench.lab import Figure

MISSED, GATE, STRETCH, OPEN = "MISSED", "ok", "ok, stretch", "not judged"


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of results.json. `met` is null where nothing was measured or the floor was off (void).

    `size` is there where a figure says how large its load was.
    """

    name: str
    value: float | None
    unit: str
    floor: float | None
    ratio: float | None
    goal: float
    stretch: float | None
    met: bool | None
    size: str = ""


def judge(goal: Goal, figure: Figure | None) -> Result:
    """A figure beside its goal. A ratio is judged where there is a floor, else the value."""
    if figure is None:
        return Result(goal.name, None, goal.unit, None, None, goal.gate, goal.stretch, None)
    ratio = figure.value / figure.floor if figure.floor else None
    judged = figure.value if ratio is None else ratio
    met = None if figure.void else goal.holds(judged, goal.gate)
    return Result(
        name=goal.name,
        value=_short(figure.value),
        unit=goal.unit,
        floor=_short(figure.floor),
        ratio=_short(ratio),
        goal=goal.gate,
        stretch=goal.stretch,
        met=met,
        size=figure.size,
    )


def judge_all(figures: Iterable[Figure]) -> list[Result]:
    """One result per goal, in the goals' order, measured or not."""
    found = {figure.key: figure for figure in figures}
    unknown = found.keys() - {goal.key for goal in GOALS}
    if unknown:
        raise KeyError(f"figures without a goal: {sorted(unknown)}; add them to bench/goals.py")
    return [judge(goal, found.get(goal.key)) for goal in GOALS]


def merged(old: Sequence[Result], new: Sequence[Result]) -> list[Result]:
    """One result per goal: the new ones where something was measured, else the old ones."""
    before = {result.name: result for result in old}
    return [result if result.value is not None else before.get(result.name, result) for result in new]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def verdict(goal: Goal, result: Result) -> str:
    if result.met is None:
        return OPEN if result.value is None else f"{OPEN} (void)"
    judged = result.value if result.ratio is None else result.ratio
    if judged is not None and goal.holds(judged, goal.stretch):
        return STRETCH
    return GATE if result.met else MISSED


def table(results: Sequence[Result]) -> str:
    """Floor, value, ratio and goal side by side."""
    head = ("", "floor", "value", "unit", "ratio", "goal", "stretch", "")
    rows = [head, *(_row(goal, result) for goal, result in zip(GOALS, results, strict=True))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def _row(goal: Goal, result: Result) -> tuple[str, ...]:
    against = f" / {goal.per}" if goal.per else ""
    limits = [f"{goal.sense} {limit:.4g}" if limit is not None else "" for limit in (goal.gate, goal.stretch)]
    size = f" ({result.size})" if result.size else ""
    return (
        goal.name + against + size,
        _text(result.floor),
        _text(result.value),
        goal.unit,
        _text(result.ratio),
        *limits,
        verdict(goal, result),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(w) if i in (0, 3, 7) else cell.rjust(w)
        for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(path: Path, results: Sequence[Result]) -> None:
    """One result per line, so that a change of one figure is a change of one line."""
    lines = [msgspec.json.encode(result).decode() for result in results]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def read(text: bytes) -> list[Result]:
    return msgspec.json.decode(text, type=list[Result])
