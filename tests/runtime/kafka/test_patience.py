"""Many consumers of one process let brokers hold their empty fetches for longer."""

from __future__ import annotations

import pytest

from sixfold.bus.kafka.patience import BEAT_MAX_S, MAX_MS, Patience
from sixfold.bus.kafka.settings import KafkaSettings


class Fetcher:
    """What is told of one of aiokafka's."""

    _fetch_max_wait_ms = 0


def test_many_ask_more_seldom_and_few_as_often_as_was_set() -> None:
    """All together so often; those that are left are told again when others close."""
    patience, fetchers = Patience(250), [Fetcher() for _ in range(50)]

    def waits() -> set[int]:
        return {fetcher._fetch_max_wait_ms for fetcher in fetchers}

    for count, fetcher in enumerate(fetchers, 1):
        patience.add(fetcher)
        assert fetchers[0]._fetch_max_wait_ms == max(250, min(25 * count, MAX_MS))
    assert waits() == {1_000}
    patience.remove(None)
    assert waits() == {1_000}, "one that was never opened is closed, too"
    while len(fetchers) > 20:
        patience.remove(fetchers.pop())
    assert waits() == {500}
    while len(fetchers) > 1:
        patience.remove(fetchers.pop())
    assert waits() == {250}


def test_many_send_heartbeats_more_seldom() -> None:
    """Never so seldom that a group could take a member for dead: it waits ten seconds by default."""
    patience, fetchers = Patience(250), [Fetcher() for _ in range(200)]
    beats = []
    for fetcher in fetchers:
        patience.add(fetcher)
        beats.append(patience.beat_s)
    assert beats[24] == pytest.approx(KafkaSettings().heartbeat_s)
    assert beats[49] == pytest.approx(1.0)
    assert beats[199] == BEAT_MAX_S < KafkaSettings().session_timeout_s / 4
