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
        "aiokafka #929; faust-streaming #94; faust #104, #658; kstreams #101; FastStream #1414",
        (
            "runtime/test_worker_bus_faults.py::test_being_fenced_is_no_crash",
            "contracts/test_groups.py::test_settling_a_partition_that_moved_away_is_fenced_and_stores_nothing",
            "runtime/test_worker_letting_go.py::test_partitions_come_and_go_under_load_and_every_record_is_handled",
        ),
    ),
    Pain(
        "a consumer stands still after a broker's restart, a rejoin or an offset out of range, and nothing says so",
        "aiokafka #1154, #847, #703, #712, #718; Quix Streams #1067; faust #99, #134, #218; faust-streaming #21, #74",
        (
            "runtime/test_worker_stuck.py::test_a_worker_whose_bus_call_hangs_is_started_afresh_and_says_once_what_it_saw",
            "runtime/test_watchdog.py::test_a_worker_with_work_that_moves_nothing_is_stuck_at_the_last_look_and_not_before",
            "integration/test_kafka_restart.py::test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_the_consumer_goes_on",
            "integration/test_kafka_cluster.py::test_brokers_that_die_restart_and_hand_over_lose_nothing_and_leave_nobody_stuck",
            "contracts/test_retention.py::test_a_position_that_retention_took_continues_with_the_first_record_left",
        ),
    ),
    Pain(
        "a later success commits past a record that failed; the default delivers at most once",
        "FastStream #2618, #1001, #1446, #1657",
        (
            "runtime/test_worker_order.py::test_the_offset_committed_stays_below_an_unfinished_record",
            "runtime/test_watermark.py::test_it_never_passes_an_unfinished_record_and_ends_after_the_last",
            "contracts/test_crashes.py::test_what_a_killed_member_did_not_commit_is_delivered_again",
        ),
    ),
    Pain(
        "a retry comes at once and for ever, or holds up everything behind it, and there is no dead-letter topic",
        "FastStream #1721; Knative eventing #1573, #2211; eventing-kafka #639; Spring's binder #503",
        (
            "runtime/test_invocation.py::test_backoff_doubles_within_its_cap_and_jitter",
            "runtime/test_worker_retry_topic.py::test_a_retry_through_a_topic_holds_nobody_up_and_keeps_the_records_place",
            "runtime/test_worker_order.py::test_a_retry_of_one_partition_holds_up_no_other_even_with_a_full_backlog",
            "runtime/test_worker_failures.py::test_rubbish_is_parked_as_it_came_and_holds_nobody_up",
        ),
    ),
    Pain(
        "one message at a time, or no order: no concurrency that keeps the order of keys",
        "FastStream #2217; faust #422; Quarkus #50595; Knative #3076, #3078; Fission #1569",
        (
            "runtime/test_worker_order.py::test_key_order_is_kept_with_more_handlers_than_partitions",
            "runtime/test_lanes.py::test_every_record_runs_once_and_in_the_order_that_was_asked_for",
        ),
    ),
    Pain(
        "a stop cuts handlers off or takes for ever",
        "FastStream #1648; Cloudflow #847, #861; Dapr #1804",
        (
            "runtime/test_worker_letting_go.py::test_a_stop_finishes_what_runs_and_commits_it",
            "runtime/test_worker_letting_go.py::test_a_stop_takes_no_longer_than_the_limits_say_whatever_hangs",
        ),
    ),
    Pain(
        "the event that was under way at a rebalance is handled twice",
        "Nuclio #2988, #3362, #3044, #3336, #2394",
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
            "integration/test_kafka_bus.py::test_a_member_that_slept_past_its_session_is_fenced_and_stores_nothing",
            "integration/test_kafka_tables.py::test_a_row_that_leaves_its_owner_late_does_not_overwrite_the_next_owners",
            "runtime/test_worker_delivery.py::test_an_event_that_comes_twice_is_handled_once",
        ),
    ),
    Pain(
        "nothing can be tested without a broker, or the broker of the tests is another than the real one",
        "FastStream #302, #805; SAM CLI #3380; testcontainers-python #170, #637, #611",
        (
            "runtime/test_harness.py::test_a_chain_of_functions_runs_until_nothing_is_left",
            "integration/test_containers.py::test_a_broker_in_a_container_takes_a_whole_round_trip",
            "kafka/test_finding.py::test_without_broker_engine_and_java_the_reason_names_all_three",
        ),
    ),
    Pain(
        "a record's schema is taken for the reader's own, its id for a version; a bad one ends the consumer",
        "FastStream #964, #1774; Quix Streams #407",
        (
            "runtime/registry/test_functions.py::test_a_record_of_an_unknown_schema_is_handled_once_the_registry_told_it",
            "runtime/registry/test_functions.py::test_a_schema_that_nobody_knows_parks_its_records_and_asks_once",
            "runtime/registry/test_functions.py::test_a_registry_that_is_away_is_no_fault_of_a_record",
        ),
    ),
    Pain(
        "lag is not shown, health says nothing, spans leak",
        "Restate #3780; DataHub #15769; aiokafka #1100; opentelemetry-python-contrib #3383",
        (
            "runtime/gateway/test_observation.py::test_metrics_hold_lag_counters_and_requests",
            "runtime/gateway/test_observation.py::test_health_is_degraded_where_a_function_stopped_for_good_and_details_are_for_operators",
            "runtime/test_tracing.py::test_a_batch_has_one_span_that_links_to_what_made_its_records",
            "contracts/test_ages.py::test_the_first_record_at_each_position_is_found_and_read_once",
        ),
    ),
    Pain(
        "memory grows while nothing comes in, or without bound while the handler is slow",
        "aiokafka #444, #487, #628; faust #646",
        (
            "contracts/test_consuming.py::test_an_idle_consumer_leaves_nothing_behind",
            "runtime/test_worker_large_results.py::test_more_results_than_one_call_takes_are_settled_in_several_and_memory_stays_bounded",
            "bench/test_rounds.py::test_memory_that_grows_is_seen_and_noise_is_not",
        ),
    ),
    Pain(
        "a restart moves everybody's partitions",
        "aiokafka #680, #1126; FastStream #2783, #2882",
        (
            "contracts/test_static_members.py::test_a_restart_within_the_session_timeout_moves_no_partitions",
            "runtime/supervisor/test_places.py::test_whoever_follows_a_process_that_was_killed_has_its_name",
        ),
    ),
    Pain(
        "records that came in while a deployment was under way are lost",
        "Dapr #7799, #4629",
        (
            "contracts/test_groups.py::test_after_a_rebalance_a_partition_goes_on_at_its_committed_offset",
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
