"""T-90 at the size of a pull request: safeguards that are missed soon are missed here, each time.

`make ablate` tries them all. A safeguard that moves makes its ablation fail with the name that is not there any more.
"""

from pathlib import Path

import msgspec
import pytest

from tests.faults.ablating import try_out
from tests.faults.ablations import ABLATIONS, BY_NAME
from tests.faults.directed import WORLDS
from tests.faults.knife import Knife, without
from tests.faults.publish import PAGE, RESULTS, filled, runs
from tests.faults.runs import ROOT, Figures, hush
from tests.faults.trials import Directed
from tests.faults.world import run_plan

TOLD = {
    "simulation, seeds (T-20)": "make nightly-seeds",
    "killed before steps (T-22)": "make nightly-sweep",
    "real processes killed (T-23)": "make nightly-crash",
    "database stopped and restarted (T-23)": "make nightly-database",
    "hand-overs (T-24)": "make nightly-handovers",
    "two revisions, migrating (T-25)": "make nightly-revisions",
    "wires (T-30)": "make nightly-wire",
}
QUICK = [one.name for one in ABLATIONS if one.quick]
DIRECTED = [
    (one.name, world) for one in ABLATIONS if isinstance(one.trial, Directed) for world in one.trial.worlds
]


def test_there_is_an_ablation_for_every_safeguard_that_is_named_t_90() -> None:
    assert len(ABLATIONS) >= 25
    assert len(BY_NAME) == len(ABLATIONS)
    for one in ABLATIONS:
        assert one.breaks
        assert any(ROOT.glob(one.lives)), f"{one.name} lives in {one.lives}, which is not there"


@pytest.mark.parametrize("name", list(BY_NAME))
def test_what_is_taken_out_is_there_and_is_put_back_t_90(name: str) -> None:
    knife = Knife()
    BY_NAME[name].cut(knife)
    during = [(owner, attribute, vars(owner)[attribute]) for owner, attribute, _ in knife.taken]
    before: dict[tuple[int, str], object] = {}
    for owner, attribute, original in knife.taken:
        before.setdefault((id(owner), attribute), original)
    knife.restore()
    assert during
    for owner, attribute, made in during:
        original = before[id(owner), attribute]
        assert vars(owner)[attribute] is original
        assert made is not original


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUICK)
def test_without_it_an_invariant_breaks_within_few_seeds_t_90(name: str) -> None:
    found = try_out(name, BY_NAME[name].quick)
    assert found.invariant in BY_NAME[name].breaks, found


@pytest.mark.parametrize("name, world", DIRECTED)
def test_each_world_that_is_made_for_a_safeguard_misses_it_t_90(name: str, world: str) -> None:
    hush()
    with without(BY_NAME[name].cut):
        outcome = run_plan(WORLDS[world])
    assert {violation.invariant for violation in outcome.violations} & set(BY_NAME[name].breaks)


def test_every_world_that_is_made_by_hand_belongs_to_a_safeguard() -> None:
    assert sorted(WORLDS) == sorted(world for _, world in DIRECTED)


def test_a_cut_is_over_when_its_trial_fails() -> None:
    class Owner:
        kept = "before"

    def cut(knife: Knife) -> None:
        knife.swap(Owner, "kept", "during")

    def fails() -> None:
        with without(cut):
            assert Owner.kept == "during"
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert Owner.kept == "before"
    with pytest.raises(KeyError):
        Knife().swap(Owner, "moved", "anywhere")


def test_the_page_says_what_the_last_runs_found() -> None:
    """The contract P1 to P12 and its figures: written by `make publish`, never by hand."""
    text = PAGE.read_text()
    assert filled(text, RESULTS) == text, (
        "the figures are newer than the page: run `make publish` and commit it"
    )
    assert all(f"| P{number} |" in text for number in range(1, 13))


def test_a_tier_that_was_not_run_is_a_row_with_its_command(tmp_path: Path) -> None:
    """T-22, T-23, T-25, T-30: a gap is seen, and a part of the crash sweep does not pass for the whole."""
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in runs(tmp_path).splitlines()}
    assert set(TOLD) <= set(rows)
    for name, command in TOLD.items():
        assert f"not run at this state**: `{command}`" in rows[name]
    figures = Figures("abc", "T-22", 1, seeds=284, crash_points=284, every=7, steps_in_all=1_974)
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(figures))
    assert "| abc | 284 | every 7th of 1,974 steps of 5 scenarios: 0 faults" in runs(tmp_path)
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(figures, every=1)))
    assert "| each of 1,974 steps of 5 scenarios: " in runs(tmp_path)


def test_a_page_without_figures_says_so_and_one_with_figures_shows_them(tmp_path: Path) -> None:
    text = filled(PAGE.read_text(), tmp_path)
    assert "Not run in this checkout" in text
    (tmp_path / "ablations.json").write_bytes(
        b'{"commit":"abc","findings":[{"name":"T_vis","lives":"x.py","invariant":"R-010","tries":3,'
        b'"shown_by":"seed 3","text":"it broke","kind":"seeds"}]}'
    )
    assert "| T_vis | seeds | R-010 | 3 | `seed 3` | `x.py` |" in filled(text, tmp_path)
    with pytest.raises(ValueError, match="faults:timers"):
        filled("no marks", tmp_path)
