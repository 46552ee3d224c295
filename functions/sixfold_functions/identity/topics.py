"""Topics of the identity capability that need other than the default settings."""

from __future__ import annotations

from sixfold.bus.port import Cleanup, TopicSpec

topics = (
    # One partition: issuers and roles are in one order for everybody who folds them.
    TopicSpec(name="identity.state", partitions=1, cleanup=Cleanup.COMPACT, retention_ms=None),
    # One partition: one chain of audit links.
    TopicSpec(name="identity.calls", partitions=1),
)
