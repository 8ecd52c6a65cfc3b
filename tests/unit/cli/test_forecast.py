"""R-061: what people are told of the next signal is what the gateway would do with it."""

import pytest

from cli.forecast import Forecast, verdict


def told(plain: int, protected: int, paused_s: float = 0.0) -> str:
    """Five followers, of whom so many would be served."""
    # Both entries fit what is left by their requests alone: that is not what decides.
    one = Forecast("lead", "l", "b", 5, 5, 15, plain, protected, 60, 60, 60.0, paused_s)
    return verdict(one)


@pytest.mark.parametrize(
    "plain, protected, said",
    [(5, 5, "fits"), (5, 4, "only without brackets"), (3, 1, "2 are left out"), (0, 0, "5 are left out")],
)
def test_r061_the_verdict_is_who_would_be_served(plain: int, protected: int, said: str) -> None:
    assert told(plain, protected) == said


def test_r062_a_login_that_was_told_to_be_silent_says_for_how_long() -> None:
    assert told(0, 0, 12.4) == "silent for 12 s"
