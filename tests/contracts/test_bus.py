"""The contract of the bus: what `sixfold.bus.port` promises, as rows, each with the test that holds it.

Every test runs over both back ends, embedded and a real Kafka, by the fixtures `place` and `bus`. A known gap of one of
them is `xfail(strict=True, reason=…)`. The test in this module fails when a row has no test or a test no row. Rows of
the contract's edges are in `edges.py` beside it.

Topics: `tests/contracts/test_topics.py`

- create_topics may be called at every start; the records stay.
  test_creating_a_topic_again_changes_nothing
- topics() gives partitions, cleanup, retention and the record limit back.
  test_topics_are_described_as_they_were_declared
- TopicConflictError; neither that topic nor another of the same call is touched.
  test_a_topic_with_another_number_of_partitions_is_a_conflict
- A topic made again under the name starts at zero, for readers and for groups.
  test_a_deleted_topic_is_gone_with_its_records_and_committed_offsets
- UnknownTopicError, with the name.
  test_deleting_a_topic_that_does_not_exist_is_an_error
- UnknownTopicError, soon; what else was in the call is not stored.
  test_publishing_to_an_unknown_topic_is_an_error_and_stores_nothing
- UnknownTopicError, though this bus had published there before; the other topics take records as before.
  test_a_topic_that_was_deleted_elsewhere_fails_a_publish_over_several_and_nothing_is_stored
- Joining, pinning, asking for offsets or lag: UnknownTopicError, never a wait without end.
  test_reading_an_unknown_topic_is_an_error

Altering topics: `tests/contracts/test_altering.py`

- Cleanup, retention by time and size, the record limit: each way, as topics() then says.
  test_a_topics_settings_are_changed_and_its_records_stay
- For the bus that changed it: larger records go through, or no longer.
  test_a_new_record_limit_holds_at_once
- Old records stay where they are, new partitions are empty and can be written, read and joined.
  test_a_topic_gets_more_partitions
- TopicConflictError for fewer partitions, UnknownTopicError for a topic that is not there.
  test_a_change_that_cannot_be_made_changes_nothing
- A plan may be applied again.
  test_altering_a_topic_to_what_it_is_changes_nothing

Records: `tests/contracts/test_records.py`

- Nothing of a record is changed: header order, repeated header names and any bytes survive.
  test_records_keep_key_value_and_headers_in_order_with_duplicates_and_binary
- Text outside ASCII comes back as it went in.
  test_unicode_survives_in_keys_values_and_header_names
- None and no bytes are different things, in values and in keys.
  test_an_empty_value_is_not_a_tombstone_and_an_empty_key_is_a_key
- A record keeps the time that it was given; without one it is stamped by the publisher's clock.
  test_timestamps_are_kept_and_default_to_now
- Positions come in the order of the records, over partitions and topics, and readers find the records there.
  test_publish_returns_where_each_record_lies
- Offsets rise one by one, over many calls of different sizes.
  test_a_partition_is_read_in_the_order_in_which_it_was_published
- Twenty thousand records in one call, more than fits in any one request to a partition.
  test_a_big_batch_is_stored_whole_and_in_order
- Publishers of one bus at the same time: each one's records are in its order within a partition.
  test_concurrent_publishers_keep_the_order_of_each
- RecordTooLargeError says so before anything is stored, whatever else was in the call.
  test_a_record_too_large_is_refused_and_nothing_of_its_call_is_stored
- `record_bytes_max` may lie above the default, and such a record is read like any other.
  test_a_topic_may_take_records_of_several_megabytes
- The limit is on the record, not on what is published together.
  test_a_topic_with_a_small_limit_takes_a_big_batch_of_small_records
- `partition` decides where a record goes; one that the topic does not have is refused.
  test_a_pinned_partition_wins_over_the_key_and_must_exist
- An empty call returns no positions.
  test_publishing_nothing_is_nothing

Partitions: `tests/contracts/test_partitioning.py`

- Java's clients and ours agree where a key is, on every number of partitions.
  test_a_key_goes_to_the_partition_that_kafkas_murmur2_names
- One call or many: a key does not move.
  test_records_of_one_key_share_a_partition_whoever_publishes_them
- No partition is preferred: each gets its share, within one call and over many.
  test_records_without_a_key_fill_the_partitions_in_turn

Reading: `tests/contracts/test_consuming.py`

- `earliest` is the default: a group that committed nothing reads all there is.
  test_a_new_group_starts_at_the_earliest_record
- `latest` skips what is there, and misses nothing that is published once the consumer is open.
  test_latest_starts_with_what_comes_after_joining
- By event time; a time after the last record is the end.
  test_a_timestamp_starts_with_the_first_record_stamped_then_or_later
- `start` is for partitions without a committed offset only.
  test_a_committed_offset_wins_over_the_start
- `offset_at`: exact, between, before the first and after the last record.
  test_the_offset_at_a_time_is_that_of_the_first_record_then_or_later
- `start` is the first, `end` one after the last; equal where there is nothing.
  test_offsets_are_the_readable_range
- Back and forward, also over records that were fetched ahead.
  test_seek_reads_on_from_the_offset_it_names
- The other partitions go on; nothing of the paused one is lost.
  test_a_paused_partition_is_skipped_until_it_is_resumed
- `assign` reads just those, beside any other reader, and has no offsets to commit.
  test_pinned_partitions_are_read_without_a_group
- `assign` with a group starts at its committed offset and may commit.
  test_pinned_partitions_continue_at_their_groups_offset
- `wait_s` is kept where no record comes: not much less, not much more.
  test_fetch_returns_nothing_once_its_wait_is_over
- A long poll, not a timer: the record is there long before the wait is over.
  test_a_waiting_fetch_wakes_when_a_record_comes
- At most so many in all partitions together, each record once, none lost.
  test_records_max_bounds_a_fetch_and_the_next_goes_on
- Each group gets every record and has committed offsets of its own.
  test_groups_do_not_disturb_each_other
- By partition; from the start where nothing is committed; zero once all is.
  test_lag_counts_what_is_not_committed
- Asking for records while there are none leaves nothing behind in memory.
  test_an_idle_consumer_leaves_nothing_behind

Ends: `tests/contracts/test_ends.py`

- It moves with what `fetch` returns, not with what is fetched ahead, and with `seek`; others' have none.
  test_a_position_is_the_offset_after_what_was_given
- Each record below the ends once, empty partitions included; a second time only what is new.
  test_all_partitions_are_read_to_their_ends
- A transaction's marker may be the last that a partition holds: no record, yet the reader is at the end soon.
  test_the_end_is_reached_over_offsets_without_records
- A reader that was behind gets past what is gone, and then reads what comes.
  test_the_end_is_reached_where_retention_took_everything

Ages (`sixfold.gateway.ages`, what is measured by reading): `tests/contracts/test_ages.py`

- Groups that stand in one partition each get the first record there; where nothing lies there is none.
  test_the_first_record_at_each_position_is_found_and_read_once
- The others have their turn in the next look.
  test_a_look_reads_a_bounded_number_of_partitions

Groups: `tests/contracts/test_groups.py`

- Every partition belongs to one member; together they read everything, nothing twice.
  test_two_members_share_the_partitions_and_each_record_is_read_once
- A real rebalance: the first member is asked to give some up, and reads on what it keeps.
  test_a_member_that_joins_gets_its_share
- Closing a consumer is a goodbye: nobody waits for a session to expire, static membership or not.
  test_a_member_that_leaves_hands_its_partitions_over_at_once
- A third member of two partitions idles, and takes over when one leaves.
  test_members_beyond_the_partitions_wait_and_step_in
- What was committed is not delivered again; what was read but not committed is.
  test_after_a_rebalance_a_partition_goes_on_at_its_committed_offset
- While the first member finishes its work, nobody else has its partitions; what it commits then counts.
  test_on_revoked_ends_before_another_member_gets_the_partition
- After `revoke_timeout_s` the rebalance goes on without it; it is told, and whatever it settles is refused.
  test_a_member_too_slow_to_give_up_loses_the_partition
- FencedError, and neither record nor row nor offset of the call exists.
  test_settling_a_partition_that_moved_away_is_fenced_and_stores_nothing
- Committed offsets and tables of a group whose name no topic could have.
  test_group_names_may_hold_any_text

Static members: `tests/contracts/test_static_members.py`

- The one that was killed gets what it had; the survivor neither gains nor loses anything.
  test_a_restart_within_the_session_timeout_moves_no_partitions
- After the session timeout its partitions go to the others.
  test_a_member_with_a_name_that_does_not_come_back_is_given_up

Local tools: `tests/contracts/test_local_tools.py`

- The same version comes to the same, another one differs, and the bus holds what it held before.
  test_local_tools_see_what_a_function_did_and_change_nothing

Crashes: `tests/contracts/test_crashes.py`

- At least once: committed records are not delivered again, all others are; the same name takes over at once.
  test_what_a_killed_member_did_not_commit_is_delivered_again
- Nobody said goodbye, so the group finds out; then the survivor goes on at the committed offsets.
  test_the_partitions_of_a_killed_member_go_to_the_survivor
- A row that was settled is there for whoever takes the partition over, in another process.
  test_state_survives_a_killed_member
- Kill -9 at any moment, again and again: outputs, table and offsets always agree, and in the end all is done once.
  test_a_member_killed_while_it_settles_atomically_leaves_all_or_nothing

Settling: `tests/contracts/test_settling.py`

- Outputs, rows and committed offsets are all visible to others, at once or soon.
  test_what_is_settled_is_there
- One bad record, and neither the good ones nor the rows nor the offsets exist; the next settle works.
  test_an_atomic_settle_that_fails_leaves_nothing
- Offsets and rows of several partitions, outputs to several topics, in one.
  test_one_atomic_settle_may_span_partitions
- A consumer may append and commit nothing, atomically or not.
  test_records_may_be_settled_without_offsets
- State carries the position that it reflects, so it must come with one.
  test_rows_without_their_partitions_offset_are_refused
- A group that starts again from the beginning commits smaller offsets; the last commit counts.
  test_committed_offsets_may_go_back
- A note beside a committed offset is there for whoever takes the partition over; a commit without one takes it away.
  test_a_note_beside_a_committed_offset_is_found_by_the_next_owner

Tables: `tests/contracts/test_state.py`

- Bytes compare as bytes, whatever order they were stored in.
  test_rows_are_scanned_in_the_order_of_their_keys
- The last value counts; None takes the row away; an empty value is a value.
  test_a_row_is_replaced_and_deleted
- The same key in all of them is as many rows.
  test_groups_partitions_and_tables_do_not_see_each_others_rows
- Whoever gets the partition finds the rows, there and back again, as the other left them, with standby copies or without.
  test_state_moves_with_its_partition
- Rows of two tables of one partition in one settle: a crash never leaves only one of them.
  test_several_tables_change_together
- The largest row is stored and read back; of a settle with a larger one nothing is stored.
  test_a_row_takes_as_many_bytes_as_the_port_says_and_a_much_larger_one_is_refused
- Rows of the new partitions are stored beside those that were there.
  test_a_topic_that_gets_more_partitions_has_tables_for_them
- However a back end keeps them, `topics` does not show it.
  test_tables_are_no_topics_of_the_user

Retention (eventually, within a deadline): `tests/contracts/test_retention.py`

- By event time; younger ones stay, and a group that had not read the old ones goes on with the young.
  test_records_older_than_the_retention_go
- A committed offset before the start of the log is no end and no error.
  test_a_position_that_retention_took_continues_with_the_first_record_left
- The end stays, the start moves; about as much as was asked for is kept.
  test_a_partition_beyond_its_size_loses_its_oldest_records
- In order, at its own offset; the older ones go.
  test_compaction_keeps_the_newest_record_of_each_key
- A reader sees the tombstone first; in the end nothing of the key is left, and other keys stay.
  test_a_tombstone_takes_its_key_away_and_then_goes_itself
"""

from __future__ import annotations

import ast
import re
from pathlib import Path


def test_every_promise_has_its_test_and_every_test_its_promise() -> None:
    """The rows and the tests beside this module are the same, module by module, in the same order."""
    here = Path(__file__)
    rows: dict[str, list[str]] = {}
    edges = ast.get_docstring(ast.parse((here.parent / "edges.py").read_text()), clean=False)
    for line in f"{__doc__}{edges}".splitlines():
        if module := re.search(r"`tests/contracts/(\w+)\.py`", line):
            tests = rows.setdefault(module[1], [])
        elif name := re.fullmatch(r"  (test_\w+)", line):
            tests.append(name[1])
    found = {
        path.stem: [
            node.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        for path in here.parent.glob("test_*.py")
        if path != here
    }
    assert rows == found
    assert sum(map(len, rows.values())) >= 100
