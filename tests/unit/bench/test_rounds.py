"""When a round counts, when it is measured again, and when a figure is void."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from bench.rounds import FLOOR_SPREAD_MAX, FLOOR_TAIL_MAX, MayRepeat, Round, Sample, collect, outlier, spread
from bench.tap import Reading

WHOLE = Reading(
    n=20, signals=10, orders=200, missing=0, late=0, extra=0, stalled_orders=0, unanswered=0, errors=0,
    first_error="", order_bytes=330, span_s=1, signals_per_s=10,
)  # fmt: skip


def sample(p50: float, p99: float | None = None, cpu_us: float = 0) -> Sample:
    return Sample(msgspec.structs.replace(WHOLE, last_p50=p50, last_p99=p99 or p50 * 2), cpu_us)


def rounds(*floors: float, product: float = 200) -> list[Round]:
    return [{"floor": sample(p50), "product": sample(product)} for p50 in floors]


def up_to(limit: int) -> MayRepeat:
    return lambda repeated: repeated < limit


def one_by_one(given: list[Round]) -> Callable[[], Round]:
    left: Iterator[Round] = iter(given)
    return lambda: next(left)


def test_a_figure_is_the_median_of_the_rounds_own_percentiles() -> None:
    given: list[Round] = [{"product": sample(p50, p99)} for p50, p99 in ((100, 900), (300, 400), (200, 500))]
    series = collect(one_by_one(given), [], 3, up_to(0))
    assert (series.p50("product"), series.p99("product")) == (200, 500)


def test_steady_floors_are_taken_as_they_are() -> None:
    series = collect(one_by_one(rounds(100, 110, 105)), ["floor"], 3, up_to(2))
    assert (series.discarded, series.faults, len(series.rounds)) == (0, {}, 3)


def test_a_round_whose_floor_has_a_tail_is_measured_again() -> None:
    disturbed: Round = {"floor": sample(100, 100 * FLOOR_TAIL_MAX + 1), "product": sample(9_000)}
    series = collect(one_by_one([*rounds(100, 100), disturbed, *rounds(100)]), ["floor"], 3, up_to(2))
    assert (series.discarded, series.faults) == (1, {})
    assert max(one["product"].reading.last_p50 for one in series.rounds) == 200


def test_the_round_farthest_from_the_median_is_measured_again_when_floors_differ() -> None:
    series = collect(one_by_one(rounds(100, 250, 110, 105)), ["floor"], 3, up_to(2))
    assert (series.discarded, series.faults) == (1, {})
    assert sorted(one["floor"].reading.last_p50 for one in series.rounds) == [100, 105, 110]


def test_repeating_is_bounded_and_the_rest_is_void() -> None:
    series = collect(one_by_one(rounds(100, 250, 110, 300, 400)), ["floor"], 3, up_to(2))
    assert series.discarded == 2
    assert "rounds differ" in str(series.void("floor"))


def test_the_products_own_tail_never_saves_or_voids_a_round() -> None:
    given: list[Round] = [{"floor": sample(100), "product": sample(p50, p50 * 50)} for p50 in (10, 1_000, 90)]
    assert collect(one_by_one(given), ["floor"], 3, up_to(2)).faults == {}


@pytest.mark.parametrize("edge", [100 * FLOOR_SPREAD_MAX])
def test_a_spread_at_the_limit_still_counts(edge: float) -> None:
    assert spread(rounds(100, edge), "floor") == FLOOR_SPREAD_MAX
    assert collect(one_by_one(rounds(100, edge, 120)), ["floor"], 3, up_to(0)).faults == {}


def test_only_figures_that_rest_on_the_moving_floor_are_void() -> None:
    given: list[Round] = [{"steady": sample(100), "moving": sample(p50)} for p50 in (100, 300, 100)]
    series = collect(one_by_one(given), ["steady", "moving"], 3, up_to(0))
    assert series.void("steady") is None
    assert "moving" in str(series.void("moving"))
    assert series.void("steady", "moving") == series.void("moving") == series.void()


def test_a_floor_that_is_too_fast_is_as_odd_as_one_too_slow() -> None:
    assert outlier(rounds(100, 30, 150), "floor") == 1


@pytest.mark.parametrize(
    "fault, words",
    [
        ({"missing": 1}, "1 orders missing"),
        ({"extra": 2}, "2 too many"),
        ({"errors": 1, "first_error": "HTTP/1.1 503"}, "503"),
        ({"unanswered": 3}, "3 absent"),
    ],
)
def test_an_incomplete_run_complains(fault: dict[str, int | str], words: str) -> None:
    assert words in str(msgspec.structs.replace(WHOLE, **fault).complaint())


def test_a_complete_run_does_not_complain() -> None:
    assert WHOLE.complaint() is None
