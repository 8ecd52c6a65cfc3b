"""Goals, verdicts, and what is written down."""

from pathlib import Path

import msgspec
import pytest

from bench.compare import change, compare
from bench.goals import GOALS, Goal, Sense
from bench.lab import Figure
from bench.report import judge, judge_all, merged, read, table, verdict, write

LATENCY = Goal("x", "time", "us", 2.0, 1.5, per="floor")
RATE = Goal("y", "rate", "1/s", 0.75, 0.9, Sense.AT_LEAST, per="without store")
MEMORY = Goal("z", "memory", "MB", 180, 120)


@pytest.mark.parametrize(
    "goal, value, floor, word",
    [
        (LATENCY, 140, 100, "ok, stretch"),
        (LATENCY, 200, 100, "ok"),
        (LATENCY, 201, 100, "MISSED"),
        (RATE, 95, 100, "ok, stretch"),
        (RATE, 75, 100, "ok"),
        (RATE, 70, 100, "MISSED"),
        (MEMORY, 119, None, "ok, stretch"),
        (MEMORY, 181, None, "MISSED"),
    ],
)
def test_a_goal_judges_the_ratio_or_else_the_value(
    goal: Goal, value: float, floor: float | None, word: str
) -> None:
    result = judge(goal, Figure(goal.key, value, floor))
    assert verdict(goal, result) == word
    assert result.met is (word != "MISSED")


def test_a_void_figure_is_shown_but_not_judged() -> None:
    result = judge(LATENCY, Figure("x", 900, 100, "the floor moved"))
    assert (result.value, result.ratio, result.met) == (900, 9, None)
    assert verdict(LATENCY, result) == "not judged (void)"


def test_what_was_not_measured_is_in_the_list_without_a_value() -> None:
    results = judge_all([])
    assert [r.name for r in results] == [g.name for g in GOALS]
    assert {(r.value, r.met) for r in results} == {(None, None)}


def test_a_figure_without_a_goal_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"bench/goals\.py"):
        judge_all([Figure("G99", 1.0)])


def test_goals_have_their_own_keys_and_a_stretch_beyond_the_gate() -> None:
    assert len({goal.key for goal in GOALS}) == len(GOALS)
    for goal in GOALS:
        if goal.stretch is not None:
            assert goal.holds(goal.stretch, goal.gate)


def test_results_survive_the_file(tmp_path: Path) -> None:
    results = judge_all([Figure("G4", 300.123456, 200.0)])
    write(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_bytes()
    assert read(text) == results
    fields = {"name", "value", "unit", "floor", "ratio", "goal", "stretch", "met"}
    assert all(set(row) == fields for row in msgspec.json.decode(text, type=list[dict[str, object]]))


def test_a_part_that_is_added_takes_only_its_own_places() -> None:
    keys = [goal.key for goal in GOALS]
    old = judge_all([Figure(keys[0], 1.0), Figure(keys[1], 2.0)])
    now = merged(old, judge_all([Figure(keys[1], 3.0), Figure(keys[2], 4.0)]))
    assert [result.value for result in now[:4]] == [1.0, 3.0, 4.0, None]
    assert [result.name for result in now] == [goal.name for goal in GOALS]


def test_the_table_shows_floor_value_ratio_and_goal_side_by_side() -> None:
    line = next(
        row for row in table(judge_all([Figure("G4", 300, 200)])).splitlines() if row.startswith("G4")
    )
    assert line.split("durable floor")[1].split() == [
        "200",
        "300",
        "us",
        "1.5",
        "<=",
        "2",
        "<=",
        "1.5",
        "ok,",
        "stretch",
    ]


def test_a_change_says_its_direction() -> None:
    old, better, worse = (judge(LATENCY, Figure("x", value, 100)) for value in (200, 150, 300))
    assert "-25%, better" in change(LATENCY, old, better)
    assert "+50%, WORSE" in change(LATENCY, old, worse)
    assert "no longer met" in change(LATENCY, old, worse)


def test_more_is_better_for_a_rate() -> None:
    old, new = (judge(RATE, Figure("y", value, 100)) for value in (80, 95))
    assert "better" in change(RATE, old, new)


def test_a_small_change_is_noise() -> None:
    old, new = (judge(LATENCY, Figure("x", value, 100)) for value in (200, 210))
    assert "as before" in change(LATENCY, old, new)


def test_a_first_result_has_nothing_to_compare_with() -> None:
    lines = compare([], judge_all([Figure("G4", 300, 200)]))
    assert "G4: signal to 202 after the commit, p50: - -> 1.5" in lines
