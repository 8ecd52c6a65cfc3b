"""How often a flatten reads an account."""

from kopitra.domain.flattening import READ_PAUSES_S, Pace


def test_reads_come_more_and_more_slowly_while_nothing_changes() -> None:
    pace = Pace()
    assert [pace.pause_s("held") for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_change_brings_the_quick_pace_back() -> None:
    pace = Pace()
    for _ in range(4):
        pace.pause_s("held")
    assert pace.pause_s("less is held") == READ_PAUSES_S[0]
    assert pace.pause_s("less is held") == READ_PAUSES_S[1]


def test_reads_that_fail_slow_down_and_the_first_that_succeeds_is_a_change() -> None:
    pace = Pace()
    assert [pace.pause_s(None) for _ in range(3)] == [0.5, 1.0, 2.0]
    assert pace.pause_s("flat") == READ_PAUSES_S[0]
