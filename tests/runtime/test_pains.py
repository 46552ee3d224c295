"""What hurts users of other Python frameworks on Kafka, by the public threads where they say so, and the tests here that
name it: each would fail if the same happened to a user of Sixfold."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]


class Pain(NamedTuple):
    """One of them."""

    what: str
    threads: str
    tests: tuple[str, ...]
    """`path::name`, below `tests/`."""


PAINS = (
    Pain(
        "a rebalance beside the loop makes its commit fail, and the worker dies of it",
        "aiokafka #929; faust-streaming #94; faust #104, #658; kstreams #101; PostHog #15767, #68227; FastStream #1414",
        (
            "runtime/test_worker_bus_faults.py::test_being_fenced_is_no_crash",
            "runtime/test_worker_bus_faults.py::test_being_fenced_for_ever_starts_the_worker_afresh",
            "contracts/test_groups.py::test_settling_a_partition_that_moved_away_is_fenced_and_stores_nothing",
            "contracts/test_refusals.py::test_one_partition_of_another_refuses_the_whole_settle",
            "runtime/test_worker_letting_go.py::test_partitions_come_and_go_under_load_and_every_record_is_handled",
        ),
    ),
    Pain(
        "a consumer stands still for ever after a broker's restart or a rebalance, and nothing says so",
        "aiokafka #1154, #847, #703, #712, #747; Quix Streams #1067, #1068; faust #99, #134, #218, #517; faust-streaming #21, #74",
        (
            "runtime/test_worker_stuck.py::test_a_worker_whose_bus_call_hangs_is_started_afresh_and_says_once_what_it_saw",
            "runtime/test_watchdog.py::test_a_worker_with_work_that_moves_nothing_is_stuck_at_the_last_look_and_not_before",
            "runtime/test_watchdog.py::test_a_fetch_that_does_not_come_back_is_stuck_whatever_else_waits",
            "integration/test_kafka_restart.py::test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_the_consumer_goes_on",
            "integration/test_kafka_cluster.py::test_brokers_that_die_restart_and_hand_over_lose_nothing_and_leave_nobody_stuck",
        ),
    ),
    Pain(
        "a consumer whose offset the log does not have any more finds no way on",
        "aiokafka #718",
        (
            "contracts/test_retention.py::test_a_position_that_retention_took_continues_with_the_first_record_left",
            "contracts/test_ends.py::test_the_end_is_reached_where_retention_took_everything",
            "contracts/test_starting.py::test_a_committed_offset_beyond_the_end_begins_with_the_first_record",
        ),
    ),
    Pain(
        "a later success commits past a record that failed",
        "FastStream #2618, #1001, #1446",
        (
            "runtime/test_worker_order.py::test_the_offset_committed_stays_below_an_unfinished_record",
            "runtime/test_watermark.py::test_it_never_passes_an_unfinished_record_and_ends_after_the_last",
        ),
    ),
    Pain(
        "by default a record counts as done before its handler ran; one that is rejected is passed and lost",
        "FastStream #1657, #2686",
        (
            "contracts/test_crashes.py::test_what_a_killed_member_did_not_commit_is_delivered_again",
            "runtime/test_worker_letting_go.py::test_a_stop_abandons_a_handler_that_does_not_end_and_its_record_comes_again",
            "runtime/test_worker_failures.py::test_rubbish_is_parked_as_it_came_and_holds_nobody_up",
        ),
    ),
    Pain(
        "a record that failed comes again at once and for ever, and the processor spins",
        "FastStream #1721; zammad-ai #310",
        (
            "runtime/test_invocation.py::test_backoff_doubles_within_its_cap_and_jitter",
            "runtime/test_invocation.py::test_what_may_pass_is_retried_and_parked_after_the_last_attempt",
        ),
    ),
    Pain(
        "a record that waits for its retry holds up everything behind it",
        "Knative eventing #1573, #2211; Knative broker #2662",
        (
            "runtime/test_worker_retry_topic.py::test_a_retry_through_a_topic_holds_nobody_up_and_keeps_the_records_place",
            "runtime/test_worker_order.py::test_a_retry_of_one_partition_holds_up_no_other_even_with_a_full_backlog",
        ),
    ),
    Pain(
        "a source gives up after one attempt, and there is no dead-letter topic, or no way back from it",
        "eventing-contrib #754; eventing-kafka #639; zammad-ai #173; Spring's binder #503; Azure Functions' Kafka extension #17",
        (
            "runtime/test_worker_retry_topic.py::test_a_retry_through_a_topic_ends_in_a_dead_letter_with_the_original_place",
            "runtime/test_worker_failures.py::test_the_largest_record_can_be_parked",
            "runtime/test_redriving.py::test_a_redrive_reaches_the_function_that_failed_and_nobody_else",
        ),
    ),
    Pain(
        "one message at a time, or no order: no concurrency that keeps the order of keys",
        "FastStream #2217, #2017; faust #422; calfkit #226, #344; Quarkus #50595; Knative #3076, #3078; Fission #1569",
        (
            "runtime/test_worker_order.py::test_key_order_is_kept_with_more_handlers_than_partitions",
            "runtime/test_lanes.py::test_every_record_runs_once_and_in_the_order_that_was_asked_for",
            "runtime/test_lanes.py::test_keys_of_one_partition_run_side_by_side",
        ),
    ),
    Pain(
        "a stop cuts handlers off or takes for ever",
        "FastStream #1648; Cloudflow #847, #861; Dapr #1804",
        (
            "runtime/test_worker_letting_go.py::test_a_stop_finishes_what_runs_and_commits_it",
            "runtime/test_worker_letting_go.py::test_a_stop_takes_no_longer_than_the_limits_say_whatever_hangs",
            "contracts/test_closing.py::test_closing_ends_a_fetch_that_waits",
        ),
    ),
    Pain(
        "the event that was under way at a rebalance is handled twice, or letting go of it ends the process",
        "Nuclio #2988, #3362, #3044, #3336, #3340, #2394",
        (
            "runtime/test_worker_letting_go.py::test_a_rebalance_while_a_handler_runs_handles_its_record_once",
            "contracts/test_groups.py::test_on_revoked_ends_before_another_member_gets_the_partition",
            "runtime/test_worker_gaps.py::test_what_was_finished_above_a_stuck_record_is_not_handled_again_after_a_crash",
        ),
    ),
    Pain(
        "a rebalance within a transaction breaks exactly-once, or hangs",
        "aiokafka #844; faust-streaming #47; faust #658; Quix Streams #139",
        (
            "contracts/test_crashes.py::test_a_member_killed_while_it_settles_atomically_leaves_all_or_nothing",
            "contracts/test_closing.py::test_an_atomic_settle_that_is_cancelled_leaves_all_or_nothing",
            "integration/test_kafka_bus.py::test_a_member_that_slept_past_its_session_is_fenced_and_stores_nothing",
            "integration/test_kafka_tables.py::test_a_row_that_leaves_its_owner_late_does_not_overwrite_the_next_owners",
            "runtime/test_worker_delivery.py::test_an_event_that_comes_twice_is_handled_once",
        ),
    ),
    Pain(
        "the broker of the tests knows no groups, offsets or wrappers as the real one does",
        "FastStream #302, #805",
        (
            "contracts/test_bus.py::test_every_promise_has_its_test_and_every_test_its_promise",
            "contracts/test_groups.py::test_two_members_share_the_partitions_and_each_record_is_read_once",
            "contracts/test_consuming.py::test_groups_do_not_disturb_each_other",
            "runtime/test_harness.py::test_a_chain_of_functions_runs_until_nothing_is_left",
        ),
    ),
    Pain(
        "nothing runs at a desk without a broker, and the container that brings one does not start",
        "SAM CLI #3380; functions-framework-python #74; testcontainers-python #170, #637, #611; testcontainers-java #9506",
        (
            "runtime/cli/test_run.py::test_a_users_functions_run_until_they_are_asked_to_stop",
            "runtime/lambdas/test_handlers.py::test_a_handler_gets_lambdas_kafka_event_and_context",
            "integration/test_containers.py::test_a_broker_in_a_container_takes_a_whole_round_trip",
            "kafka/test_finding.py::test_without_broker_engine_and_java_the_reason_names_all_three",
        ),
    ),
    Pain(
        "no schemas before the handler, and a schema's version is taken for its id",
        "FastStream #964, #1774, #231; Quix Streams #407",
        (
            "events/test_framing.py::test_a_frame_of_an_id_is_the_confluent_prefix",
            "events/test_resolution.py::test_a_reader_reads_what_the_specification_says",
            "runtime/registry/test_functions.py::test_a_record_of_an_unknown_schema_is_handled_once_the_registry_told_it",
            "runtime/registry/test_functions.py::test_a_schema_that_nobody_knows_parks_its_records_and_asks_once",
            "runtime/registry/test_functions.py::test_a_registry_that_is_away_is_no_fault_of_a_record",
        ),
    ),
    Pain(
        "lag is not shown, and health says nothing",
        "Restate #3780; Protean #832; DataHub #15769",
        (
            "contracts/test_consuming.py::test_lag_counts_what_is_not_committed",
            "contracts/test_starting.py::test_partitions_that_another_bus_added_are_known_when_they_are_asked_for",
            "runtime/gateway/test_observation.py::test_metrics_hold_lag_counters_and_requests",
            "runtime/gateway/test_observation.py::test_health_is_degraded_where_a_function_stopped_for_good_and_details_are_for_operators",
            "contracts/test_ages.py::test_the_first_record_at_each_position_is_found_and_read_once",
        ),
    ),
    Pain(
        "spans of a consumer's loop never end: each is the next one's parent, and memory grows",
        "aiokafka #1100; opentelemetry-python-contrib #3383",
        (
            "runtime/test_tracing.py::test_spans_end_with_their_record_and_none_is_the_next_ones_parent",
            "runtime/test_tracing.py::test_a_batch_has_one_span_that_links_to_what_made_its_records",
        ),
    ),
    Pain(
        "memory grows while nothing comes in",
        "aiokafka #444, #487, #628, #629",
        (
            "contracts/test_consuming.py::test_an_idle_consumer_leaves_nothing_behind",
            "bench/test_rounds.py::test_memory_that_grows_is_seen_and_noise_is_not",
        ),
    ),
    Pain(
        "memory grows without bound while a handler, or what takes its results, is slow",
        "faust #646",
        (
            "runtime/test_worker_order.py::test_records_wait_in_memory_up_to_a_limit_in_bytes_while_a_handler_is_slow",
            "runtime/test_worker_large_results.py::test_more_results_than_one_call_takes_are_settled_in_several_and_memory_stays_bounded",
        ),
    ),
    Pain(
        "a restart moves everybody's partitions",
        "aiokafka #680, #1126; FastStream #2783, #2882",
        (
            "contracts/test_static_members.py::test_a_restart_within_the_session_timeout_moves_no_partitions",
            "runtime/supervisor/test_places.py::test_whoever_follows_a_process_that_was_killed_has_its_name",
            "runtime/embedded/test_assignment.py::test_no_more_shares_move_than_balance_needs",
        ),
    ),
    Pain(
        "records that came in while a deployment was under way are lost",
        "Dapr #7799, #4629",
        (
            "contracts/test_consuming.py::test_a_committed_offset_wins_over_the_start",
            "contracts/test_groups.py::test_after_a_rebalance_a_partition_goes_on_at_its_committed_offset",
            "contracts/test_owning.py::test_members_of_one_group_may_read_different_topics",
            "runtime/test_worker_bus_faults.py::test_a_worker_that_crashed_starts_again_after_a_wait_and_goes_on_from_what_is_committed",
        ),
    ),
)


@cache
def names_in(path: Path) -> frozenset[str]:
    """The test functions of a file."""
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("pain", PAINS, ids=lambda pain: pain.threads.partition(";")[0])
def test_each_pain_has_tests_that_name_it(pain: Pain) -> None:
    """A test that is renamed or removed takes its promise with it: then this says which."""
    assert pain.tests
    for test in pain.tests:
        path, _, name = test.partition("::")
        assert name in names_in(TESTS / path), f"{pain.what}: there is no {test}"
