"""The README's table of figures: made from results.json, between two marks."""

import pytest

from bench.goals import GOALS
from bench.lab import Figure
from bench.readme import BEGIN, END, NOT_YET, README, block, filled
from bench.report import judge_all


def test_what_was_measured_stands_in_the_table_and_nothing_else() -> None:
    goal = GOALS[0]
    results = judge_all([Figure(goal.key, 700.0, 400.0)])

    table = block(results)

    assert len(table.splitlines()) == 3
    assert f"| {goal.name} | 700 us | 400 ({goal.per}) | 1.75 |" in table


def test_without_results_the_block_says_how_to_get_them() -> None:
    assert block([]) == block(judge_all([])) == NOT_YET
    assert "make bench" in NOT_YET


def test_filling_changes_nothing_outside_the_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert filled(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert filled(filled(page, "new"), "old") == page


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_or_doubled_marks_are_refused(page: str) -> None:
    with pytest.raises(ValueError, match="put them back"):
        filled(page, "new")


def test_the_readme_has_its_marks() -> None:
    page = README.read_text()

    assert filled(page, "new") != page
