"""Every safeguard that must be missed when it is gone (T-90): what takes it out, where it lives, and who misses it."""

from collections.abc import Mapping
from typing import Final

from tests.faults import cuts_engine as engine
from tests.faults import cuts_rules as rules
from tests.faults.ablations_drift import DRIFT
from tests.faults.ablations_flatten import FLATTENS
from tests.faults.trials import Ablation, Cards, Directed, Seeds, Worlds

_ENGINE: Final = "gateway_container/engine"
_DOMAIN: Final = "kopitra/domain"
_UNIT: Final = "tests/unit"
_GATEWAY: Final = "tests/integration/gateway"
_LATE_STOPS: Final = f"{_GATEWAY}/test_late_stops.py"
_FENCE: Final = "tests/faults/test_store_conformance_append.py"
_STORE: Final = "tests/faults/test_store_conformance_refusals.py"
_TAKING_OVER: Final = "tests/faults/test_regressions_taking_over.py"
_STREAMS: Final = "tests/unit/domain/test_streams.py"
_BY_HAND: Final = "tests/faults/test_safeguard_worlds.py"
_LATE_FILL: Final = "test_a_late_fill_is_closed_although_the_process_died_before_it_could"
_PROMISES: Final = "tests/faults/test_promises.py"
_WORLDS: Final = Worlds((_BY_HAND,))
_STRETCH: Final = (
    "tests/faults/test_regressions_cancels.py::test_an_entry_of_a_stretch_that_is_over_stays_here"
)
_SUCCESSOR: Final = "test_r059_a_successor_counts_what_its_predecessor_sent_within_the_window"
_PARTS: Final = "test_reads_without_the_list_of_orders_prove_nothing_r_002_r_010"
_TOO_OLD: Final = "test_r068_a_reversal_s_entry_that_grew_too_old_behind_its_close_is_not_sent"

#: answers are lost and the database is away: doubts, and facts that wait
_OUTAGES: Final = Seeds(
    frozenset({"lost_answer", "lost_request", "database", "slow_database", "crash", "server_error"})
)
#: processes end while orders are slow
_CRASHES: Final = Seeds(frozenset({"crash", "slow", "lost_answer", "hand_over"}))

ABLATIONS: Final = (
    Ablation("journal before send", f"{_ENGINE}/intake.py", engine.send_before_commit, ("R-006",), quick=3),
    Ablation("one-shot sends", "brokers/*/session.py", engine.send_again_without_answer, ("I-01",), quick=5),
    Ablation(
        "in-doubt block", f"{_ENGINE}/last_look.py", rules.doubts_block_nothing, ("I-13",), _OUTAGES, 12
    ),
    Ablation(
        "kill check before write", f"{_ENGINE}/last_look.py", engine.switches_are_not_looked_at, ("I-06",)
    ),
    Ablation(
        "moves ask the last look",
        f"{_ENGINE}/requests.py",
        engine.moves_ask_nobody,
        ("I-06",),
        Cards((f"{_LATE_STOPS}::test_i06_a_halted_entry_is_not_moved_into_the_market_but_canceled",)),
    ),
    Ablation(
        "blocks are looked at before the write",
        f"{_ENGINE}/last_look.py",
        engine.blocks_after_the_plan_stop_nothing,
        ("R-001", "R-043"),
        Cards((f"{_LATE_STOPS}::test_r001_r040_r043_what_stops_an_entry_after_its_plan_stops_its_write",)),
    ),
    Ablation(
        "listings after a reconnect",
        f"{_DOMAIN}/news.py",
        engine.listings_are_ignored,
        ("I-08", "I-03"),
        quick=4,
    ),
    Ablation(
        "doubt after a crash", f"{_ENGINE}/recovery.py", engine.claims_are_forgotten, ("I-03",), quick=8
    ),
    Ablation(
        "refold after unclear commit",
        f"{_ENGINE}/recovery.py",
        engine.unclear_commits_are_believed,
        ("I-12", "I-03", "I-08"),
    ),
    Ablation(
        "backlog of facts", f"{_ENGINE}/log.py", engine.facts_do_not_wait, ("I-12", "I-08"), _OUTAGES, 12
    ),
    Ablation(
        "exit file at a start",
        f"{_ENGINE}/exit_file.py",
        engine.exit_files_are_not_read,
        ("I-06",),
        Directed(("a stop that only the exit file holds",)),
        quick=1,
    ),
    # Simulated lists lag no more than their card says, and sessions wait that long: there one read would do.
    Ablation(
        "two-read proof",
        f"{_DOMAIN}/doubt.py",
        rules.one_read_is_proof,
        ("R-010",),
        Cards((f"{_UNIT}/domain/test_doubt.py",)),
    ),
    Ablation("execution ids", f"{_DOMAIN}/book.py", rules.executions_count_each_time, ("I-08",), quick=3),
    Ablation("deterministic ids", f"{_DOMAIN}/ids.py", rules.ids_are_drawn, ("I-07", "I-12"), quick=3),
    Ablation(
        "catch-up after a crash",
        f"{_DOMAIN}/catch_up.py",
        engine.nothing_is_caught_up,
        ("I-09", "R-022"),
        Worlds((f"{_BY_HAND}::{_LATE_FILL}",)),
    ),
    Ablation(
        "leader left",
        f"{_ENGINE}/last_look.py",
        engine.leaders_who_left_are_followed,
        ("I-10",),
        _CRASHES,
        12,
    ),
    Ablation("take-over wait", f"{_ENGINE}/machine.py", engine.no_take_over_wait, ("I-11",), _WORLDS),
    Ablation(
        "unsent entries", f"{_DOMAIN}/orders.py", engine.unsent_entries_stay, ("I-10",), Worlds((_STRETCH,))
    ),
    Ablation(
        "whole reads only",
        f"{_ENGINE}/lookup.py",
        engine.part_is_the_whole,
        ("R-010", "R-002"),
        Cards((f"{_GATEWAY}/test_absence.py::{_PARTS}",)),
    ),
    Ablation(
        "held orders fall in doubt",
        f"{_ENGINE}/recovery.py",
        engine.held_orders_never_left,
        ("R-002",),
        Worlds((f"{_TAKING_OVER}::test_stops_that_left_by_a_lost_exit_file_are_not_thought_unsent",)),
    ),
    Ablation(
        "lost leases end a start",
        "kopitra/store/lease.py",
        engine.nobody_asks_for_the_lease,
        ("I-09",),
        Worlds((f"{_TAKING_OVER}::test_a_lease_that_ends_before_anybody_listens_is_not_kept",)),
    ),
    Ablation(
        "doubts are looked up", f"{_ENGINE}/lookup.py", engine.nobody_looks_doubts_up, ("R-009",), _WORLDS
    ),
    Ablation("reduce-only cap", f"{_ENGINE}/last_look.py", engine.exits_are_not_cut, ("I-09",), _WORLDS),
    Ablation(
        "exits fit what a read showed",
        f"{_DOMAIN}/attribution.py",
        engine.exits_believe_the_book,
        ("I-09",),
        Directed(("exits that a lost exit file held",)),
        quick=1,
    ),
    Ablation(
        "lease deadline",
        f"{_ENGINE}/last_look.py",
        engine.deadlines_of_leases_are_not_looked_at,
        ("I-11", "R-073"),
        Cards((f"{_UNIT}/engine/test_last_look.py",)),
    ),
    Ablation(
        "stale snapshots",
        f"{_ENGINE}/state.py",
        engine.old_snapshots_count,
        ("R-004",),
        Cards(
            (
                f"{_GATEWAY}/test_recovery.py::test_a_snapshot_older_than_the_newest_fill_says_nothing_of_quantities_r_004",
            )
        ),
    ),
    Ablation(
        "written once",
        f"{_ENGINE}/fanout.py",
        engine.orders_are_written_again,
        ("I-01",),
        Cards((f"{_GATEWAY}/test_switches.py::test_an_order_that_is_dispatched_twice_is_written_once",)),
    ),
    Ablation(
        "T_vis",
        f"{_DOMAIN}/doubt.py",
        rules.reads_need_no_distance,
        ("R-010",),
        Cards((f"{_UNIT}/domain/test_doubt.py",)),
    ),
    Ablation(
        "no re-send on a guess",
        f"{_DOMAIN}/doubt.py",
        rules.entries_are_sent_again,
        ("R-011",),
        Cards((f"{_UNIT}/domain/test_doubt.py",)),
    ),
    Ablation(
        "late fills are closed",
        f"{_DOMAIN}/react.py",
        rules.late_fills_stay,
        ("I-09", "R-013"),
        Worlds((f"{_BY_HAND}::{_LATE_FILL}",)),
    ),
    Ablation(
        "cancel before close",
        f"{_DOMAIN}/steps.py",
        rules.closes_do_not_wait,
        ("R-038", "I-09"),
        Cards((f"{_UNIT}/domain/test_partial_fills.py",)),
    ),
    Ablation(
        "stops follow the holding",
        f"{_DOMAIN}/react.py",
        rules.stops_stay,
        ("I-09",),
        Worlds((f"{_BY_HAND}::test_a_close_that_waited_is_cut_to_what_is_held_by_then",)),
    ),
    Ablation(
        "stops fit after their answers",
        f"{_DOMAIN}/react.py",
        rules.answers_fit_no_stop,
        ("R-038",),
        Cards((f"{_UNIT}/domain/test_protection_sizes.py",)),
    ),
    Ablation(
        "strangers are told",
        f"{_DOMAIN}/news.py",
        engine.strangers_are_ignored,
        ("R-077",),
        Cards((f"{_UNIT}/domain/test_news.py",)),
    ),
    Ablation(
        "exit-file dedupe",
        "kopitra/store/exit_records.py",
        rules.exit_records_come_again,
        ("R-072",),
        Cards((f"{_UNIT}/gateway/test_exit_log.py",)),
    ),
    Ablation(
        "epoch in every append",
        "kopitra/store/append_sql.py",
        rules.epochs_are_not_checked,
        ("R-084", "I-11"),
        Cards((f"{_FENCE}::test_an_append_under_another_epoch_inserts_nothing",)),
    ),
    Ablation(
        "unique signals",
        "kopitra/store/append_sql.py",
        rules.signals_may_come_again,
        ("R-027", "I-02"),
        Cards((f"{_STORE}::test_a_repetition_rolls_its_neighbours_back",)),
    ),
    Ablation(
        "unique idempotency keys",
        "kopitra/store/append_sql.py",
        rules.answers_may_come_again,
        ("I-15",),
        Cards((f"{_STORE}::test_a_repetition_rolls_its_neighbours_back",)),
    ),
    Ablation(
        "tombstones", f"{_DOMAIN}/streams.py", rules.no_tombstones, ("I-10", "R-031"), Cards((_STREAMS,))
    ),
    Ablation(
        "semantic duplicates",
        f"{_DOMAIN}/streams.py",
        rules.tickets_open_twice,
        ("R-029",),
        Cards((_STREAMS,)),
    ),
    Ablation(
        "sender's numbers",
        f"{_DOMAIN}/streams.py",
        rules.old_numbers_count,
        ("R-030",),
        Cards((_STREAMS,)),
    ),
    Ablation(
        "deadline for entries",
        f"{_ENGINE}/queue.py",
        engine.deadlines_of_entries_are_not_kept,
        ("R-049",),
        Cards((f"{_UNIT}/engine/test_account_queue.py",)),
    ),
    Ablation(
        "exits displace entries",
        f"{_ENGINE}/queue.py",
        engine.displaced_by_nothing,
        ("I-14", "R-050"),
        Worlds((f"{_PROMISES}::test_an_exit_leaves_at_once_past_a_queue_full_of_entries_i_14",)),
    ),
    Ablation(
        "age limit",
        f"{_DOMAIN}/risk.py",
        rules.entries_have_no_age,
        ("R-068",),
        Cards((f"{_UNIT}/domain/test_plan_limits.py",)),
    ),
    Ablation(
        "age of held entries",
        f"{_DOMAIN}/lateness.py",
        rules.held_entries_have_no_age,
        ("R-068",),
        Cards((f"{_GATEWAY}/test_reversals.py::{_TOO_OLD}",)),
    ),
    Ablation(
        "half-open breakers read",
        "brokers/_kit/breaker.py",
        engine.breakers_probe_with_anything,
        ("R-053",),
        Cards((f"{_UNIT}/kit/test_breaker.py",)),
    ),
    Ablation(
        "rotating admission",
        f"{_ENGINE}/admission.py",
        engine.the_list_goes_first,
        ("R-061",),
        Cards((f"{_UNIT}/engine/test_admission.py",)),
    ),
    Ablation(
        "reserved tokens",
        "brokers/_kit/budget.py",
        engine.no_reserve,
        ("I-17",),
        Cards((f"{_UNIT}/kit/test_budget_machine.py",)),
    ),
    Ablation(
        "room for the way out",
        f"{_DOMAIN}/way_out.py",
        engine.nobody_counts_the_way_out,
        ("R-060",),
        Cards((f"{_UNIT}/domain/test_way_out.py",)),
    ),
    Ablation(
        "budget of a successor",
        f"{_ENGINE}/spending.py",
        engine.successors_count_from_nothing,
        ("R-059",),
        Cards((f"{_GATEWAY}/test_budgets.py::{_SUCCESSOR}",)),
    ),
    Ablation(
        "highest equity never falls",
        f"{_DOMAIN}/measuring.py",
        rules.peaks_follow_the_newest,
        ("I-19",),
        Cards((f"{_UNIT}/domain/test_limits_machine.py",)),
    ),
    Ablation(
        "flip guard",
        f"{_ENGINE}/flip_guard.py",
        engine.turns_are_closed_for_ever,
        ("R-095",),
        Cards((f"{_UNIT}/engine/test_flip_guard.py",)),
    ),
    Ablation(
        "runaway brake",
        f"{_ENGINE}/brake.py",
        engine.runaways_are_not_braked,
        ("R-099",),
        Cards((f"{_UNIT}/engine/test_brake.py",)),
    ),
    Ablation(
        "the most restrictive switch counts",
        f"{_DOMAIN}/switches.py",
        rules.the_first_switch_counts,
        ("I-06", "R-091"),
        Cards((f"{_UNIT}/domain/test_switch_machine.py",)),
    ),
    Ablation(
        "switches never go back",
        f"{_DOMAIN}/switches.py",
        rules.old_switches_count,
        ("I-06", "R-091"),
        Cards((f"{_UNIT}/domain/test_switch_machine.py",)),
    ),
    *DRIFT,
    *FLATTENS,
)

BY_NAME: Final[Mapping[str, Ablation]] = {one.name: one for one in ABLATIONS}
