"""Topics of Lambda's API."""

from __future__ import annotations

from sixfold.bus.port import Cleanup, TopicSpec

ASYNC_BYTES_MAX = 1024 * 1024
"""Largest payload of an invocation that nobody waits for; AWS's own limit."""

INVOCATIONS = TopicSpec(name="lambda.invocations", record_bytes_max=ASYNC_BYTES_MAX + 64 * 1024)
"""Takes the largest payload with a client context (3,583 bytes at most) and our headers."""

MAPPINGS = TopicSpec(name="lambda.mappings", partitions=1, cleanup=Cleanup.COMPACT, retention_ms=None)
"""One partition: mappings are in one order for everybody who folds them."""
