"""How a volume is backed up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sixfold_functions.volume.core import snapshots

RETENTION_DAYS = 7
RETENTION_DAYS_MAX = 35
"""As Aurora's (1 to 35 days)."""
SCRATCH = ".snapshots"
"""Folder of the data folder for what is in the making."""
_DAY_MS = 24 * 3_600_000


@dataclass(frozen=True, kw_only=True)
class BackupSettings:
    """How a backup goes."""

    every_s: float = 5.0
    """What became durable is taken this often. With a quiet writer's word every 3 s the latest restorable time is under
    10 s old."""
    compact_every_s: float = 60.0
    """Objects are merged this often; the smallest window is five minutes."""
    retention_days: int = RETENTION_DAYS
    """The window in which any second can be restored, 1 to 35 days. Older records of a volume of pages go once a snapshot
    stands for them; those of other volumes stay, since later ones need them."""
    snapshot_log_bytes: int = snapshots.LOG_BYTES_MIN
    """Log after which a snapshot of pages may be worth it; a large volume's needs half of its pages' bytes."""

    @property
    def retention_ms(self) -> int:
        return self.retention_days * _DAY_MS


def default_folder(data_dir: Path) -> Path:
    """Where backups lie that nobody gave a place."""
    return data_dir / "backups"
