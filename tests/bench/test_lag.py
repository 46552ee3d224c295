"""The lag meter of `make bench-volume`, on the embedded bus: it counts every append, and refuses what a replica lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.runtime.sides import SideError
from bench.volume import lag
from bench.volume.volumes import volume

from sixfold.bus import open_bus
from sixfold_functions.volume.client import VolumeWriter


@pytest.mark.timeout(300)
async def test_the_lag_of_every_append_is_measured_and_a_record_that_is_lacking_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends are read off the machine's one clock, by two processes."""
    monkeypatch.setattr(lag, "WARM_S", 0.1)
    async with open_bus("embedded:", data_dir=tmp_path) as bus, volume(bus, tmp_path, "lag") as ours, ours.copies():
        found = await lag.measured(ours, per_s=100, seconds=1.0)
        assert 50 <= len(found.lags_ms) <= 110
        assert len(found.appends_ms) == len(found.lags_ms)
        assert max(found.lags_ms) >= min(found.lags_ms) >= 0
        assert 0 < found.per_s < 1000

        real = lag.paced

        async def with_one_more(writer: VolumeWriter, *, per_s: int, seconds: float) -> dict[int, lag.Committed]:
            return {
                **await real(writer, per_s=per_s, seconds=seconds),
                1: lag.Committed(1, 1.0),
                9999: lag.Committed(1, 1.0),
            }

        monkeypatch.setattr(lag, "paced", with_one_more)
        with pytest.raises(SideError, match="records at the replica"):
            await lag.measured(ours, per_s=100, seconds=0.1)
