"""The limits of the pipeline room, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """Limits of builds on one machine."""

    log_bytes_max: int = 8 * MIB
    """Kept of one action's output from its beginning; of what follows, the last `log_tail_bytes`."""
    log_tail_bytes: int = 64 * 1024
    """Kept of the end of a longer output."""
    event_tail_bytes: int = 4096
    """Of the output's end, in the event of a failed action; small enough for a screen and a topic."""
    artifact_bytes_max: int = 1024 * MIB
    """Largest artifact before packing; CodePipeline's limit of a git source."""
    artifact_files_max: int = 50_000
    """Files in an artifact, as many as a deployment takes."""
    grace_s: float = 5.0
    """Between asking a timed-out command to end (SIGTERM) and ending it (SIGKILL)."""
    definition_bytes_max: int = 64 * 1024
    """Largest `pipeline.yaml`."""
