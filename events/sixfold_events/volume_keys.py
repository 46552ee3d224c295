"""Events about the data keys under which a volume's copies keep their files."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event


class VolumeKeysRequested(Event, topic="volume.reads", key="volume"):
    """Someone asks one copy under which data keys its files are, or for a new data key."""

    volume: str
    copy: str
    request_id: str
    rotate: bool = False
    """From now on new segments and layers are to be under a new data key."""
    reencrypt: bool = False
    """And older ones are to be written anew under it."""


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """Segments, and layers of pages, of one copy under one data key."""

    kms_key: str = ""
    """ARN of the key service's key; empty for files in plain."""
    data_key: str = ""
    """Short name of the data key, from its ciphertext; empty for files in plain."""
    files: int
    bytes: int
    """On the disk."""
    current: bool
    """New files are under it."""


class VolumeKeysAnswered(Event, topic="volume.read.results", key="volume"):
    """A copy's answer: its data keys, and how far it is with writing older files anew. No key is in it."""

    volume: str
    copy: str
    request_id: str
    keys: list[KeyUse] = msgspec.field(default_factory=list)
    left_files: int = 0
    """Segments and layers that are still to be written anew."""
    left_bytes: int = 0
    problem: str = ""
    """Why some of them cannot be written anew now."""
    error: str = ""
    """Why nothing of what was asked for happened."""
