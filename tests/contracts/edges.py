"""The contract of the bus at its edges, as rows like those of `test_bus.py`, which checks them, too.

Edges: `tests/contracts/test_edges.py`

- Byte for byte, from nothing up to the topic's limit.
  test_a_value_of_any_size_comes_back
- In one partition, however long it is.
  test_a_key_of_any_size_comes_back
- Neither key nor value, by publishing as by settling.
  test_a_record_may_be_nothing_but_headers
- Hundreds of headers, in their order.
  test_many_headers_come_back
- Forty partitions, some of them empty.
  test_a_topic_of_many_partitions_is_read_whole
- `records_max` decides how much comes at a time, and nothing else.
  test_whatever_a_fetch_takes_at_most_order_and_number_are_the_same
- Cancelling is no way to lose a record.
  test_a_fetch_that_is_cancelled_takes_no_record_with_it
- From the end on, nothing of what comes is missed.
  test_a_seek_to_the_end_skips_what_is_there
- No error, nothing committed, all of it to do.
  test_a_group_that_nobody_knows_has_committed_nothing_and_lags_by_all
- Topics of different numbers of partitions, by one member.
  test_a_member_reads_several_topics
- A member has the same numbers of all its group's topics, as tables belong to numbers.
  test_partitions_of_one_number_go_together
- Publishers on two connections at the same time: all is stored, each one's records in order.
  test_two_buses_publish_to_one_partition
- Outputs alone, offsets alone, rows with their offset, or all of it, atomically or not.
  test_a_settle_may_have_any_of_its_parts
- Empty, zero, long, or text: the next owner finds the row by it.
  test_a_row_has_any_bytes_for_its_key
- A long key and a large value of two rows are no row that is too large.
  test_a_settle_takes_a_row_with_a_long_key_and_one_with_a_large_value
- A note of the greatest length is kept.
  test_the_longest_note_is_kept

Starting: `tests/contracts/test_starting.py`

- Earliest, latest, a time: without a group as in one.
  test_pinned_partitions_start_where_they_are_told
- Zero is not "nothing committed".
  test_a_committed_zero_is_a_committed_offset
- A group is not left standing where there is no log.
  test_a_committed_offset_beyond_the_end_begins_with_the_first_record
- Records may be stamped in any order; the first by offset is found.
  test_times_that_do_not_rise_are_looked_up_in_the_order_of_offsets
- `seek` counts while a partition is paused, too.
  test_a_paused_partition_may_be_sought
- Empty lists of partitions, topics and declarations.
  test_a_consumer_of_nothing_has_nothing
- `offsets`, `lag` and `assign` know the partitions that there are, whoever made them.
  test_partitions_that_another_bus_added_are_known_when_they_are_asked_for
- Only another number of partitions is a conflict; a name may come twice in a call.
  test_a_topic_that_exists_keeps_its_settings
- However many rows; the last of a settle counts.
  test_a_table_of_thousands_of_rows_is_scanned_whole
- A consumer may settle its partitions side by side.
  test_settles_at_the_same_time_do_not_disturb_each_other

Refusals: `tests/contracts/test_refusals.py`

- UsageError, and nothing of the call is made.
  test_a_topic_name_that_kafka_would_not_take_is_refused
- As many as Kafka asks for.
  test_a_topic_has_at_least_one_partition
- UsageError from publishing, pinning and asking; negative numbers, too.
  test_a_partition_that_the_topic_does_not_have_is_refused_whatever_is_asked_of_it
- To the byte: key, value and headers.
  test_a_record_is_as_large_as_its_topic_says_and_not_a_byte_more
- As Kafka's brokers refuse it, before anything is sent.
  test_a_record_without_a_key_is_refused_where_the_newest_of_each_key_is_kept
- UsageError, and nothing of the settle is stored.
  test_a_note_that_cannot_be_kept_is_refused
- Notes are of offsets in the same call.
  test_a_note_without_its_offset_is_refused
- Neither committed nor sought.
  test_an_offset_below_zero_is_refused
- UsageError, to store as to read.
  test_a_table_has_a_name_that_any_back_end_can_carry
- FencedError for rows and seeks, UsageError for a position; pausing passes it over.
  test_of_a_partition_that_is_not_assigned_there_is_nothing_to_have
- FencedError; nothing is committed for the others of the call.
  test_one_partition_of_another_refuses_the_whole_settle

Owning: `tests/contracts/test_owning.py`

- What a listener prepares is ready when the first record comes.
  test_no_record_comes_before_on_assigned_has_returned
- It ends in no task that nobody looks at.
  test_what_a_listener_raises_reaches_whoever_fetches_or_opens
- Neither `on_revoked` nor `on_lost`.
  test_a_member_that_closes_is_told_nothing_of_it
- A pause and a position end with the assignment.
  test_a_partition_comes_back_as_new
- As in a deployment that adds a topic.
  test_members_of_one_group_may_read_different_topics
- By whoever, in a transaction or not, whatever it says.
  test_a_note_is_the_one_that_was_settled_last
- FencedError for reading them, and for seeking.
  test_rows_of_a_partition_that_went_are_not_read_any_more

Closing and cancelling: `tests/contracts/test_closing.py`

- Nobody waits for a consumer that is gone.
  test_closing_ends_a_fetch_that_waits
- With a stable name and without.
  test_a_consumer_may_close_twice_and_the_group_goes_on
- No partition goes to a member that never came to be.
  test_joining_that_is_cancelled_leaves_no_member_behind
- At any moment: outputs, rows and offset agree.
  test_an_atomic_settle_that_is_cancelled_leaves_all_or_nothing
- Never twice, never out of order.
  test_a_publish_that_is_cancelled_stores_its_records_once_or_not_at_all
- Errors, not a connection that nobody closes again.
  test_what_was_closed_says_so
"""
