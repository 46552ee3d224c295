"""What aiokafka raises, said in the words of the port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from sixfold.bus import port

REBALANCED = (
    kafka.CommitFailedError,
    kafka.RebalanceInProgressError,
    kafka.IllegalGenerationError,
    kafka.UnknownMemberIdError,
    kafka.IllegalStateError,
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.InvalidTxnState,
)
"""The group or the transaction coordinator says that somebody else has the partition now."""

UNKNOWN_TOPIC = (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError)

TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def unavailable(bootstrap: str, doing: str, reason: object = "") -> port.BusUnavailableError:
    """Nothing answers, or not in time."""
    tail = f": {reason}" if str(reason) else ""
    return port.BusUnavailableError(
        f"Kafka at {bootstrap} did not answer while {doing}{tail}. Check the address and that a broker runs there"
    )


def unknown_topic(name: str) -> port.UnknownTopicError:
    """No such topic."""
    return port.UnknownTopicError(f"topic {name!r} does not exist; create it, or check its name")


def fenced(partitions: object, reason: object = "") -> port.FencedError:
    """The partition is another member's."""
    tail = f" ({reason})" if str(reason) else ""
    return port.FencedError(
        f"{partitions} is not this member's any more{tail}; nothing was stored, its new owner goes on"
    )


@contextmanager
def translated(bootstrap: str, doing: str) -> Iterator[None]:
    """Raise the port's errors for aiokafka's inside the block; `doing` says what was tried."""
    try:
        yield
    except REBALANCED as error:
        raise fenced("the partition", type(error).__name__) from error
    except UNKNOWN_TOPIC as error:
        raise port.UnknownTopicError(f"while {doing}: a topic or partition does not exist") from error
    except TOO_LARGE as error:
        raise port.RecordTooLargeError(f"while {doing}: the broker refused a record as too large: {error}") from error
    except (kafka.KafkaError, TimeoutError, OSError) as error:
        raise unavailable(bootstrap, doing, repr(error)) from error
