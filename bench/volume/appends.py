"""Acknowledged appends of 300 bytes: ours on Kafka and on the embedded bus, beside etcd, MariaDB and six bare files."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import started
from bench.volume import etcd, mariadb, turns
from bench.volume.job import Job
from bench.volume.measured import SECONDS, figures_of, measured
from bench.volume.volumes import volume, volume_name
from sixfold.bus import open_bus

CLIENTS = (1, 128, 1000)

RATIOS: dict[str, tuple[str, str]] = {
    "append_128_vs_etcd": ("kafka_128", "etcd_128"),
    "append_1000_vs_etcd": ("kafka_1000", "etcd_1000"),
    "append_128_vs_etcd_python": ("kafka_128", "etcd_python_128"),
    "append_1000_vs_etcd_python": ("kafka_1000", "etcd_python_1000"),
    "append_128_vs_mariadb": ("kafka_128", "mariadb_128"),
    "append_128_vs_mariadb_python": ("kafka_128", "mariadb_python_128"),
    "embedded_128_vs_bare": ("embedded_128", "bare_128"),
}
"""Our rate over theirs; each is named by its side and its number of clients."""
PLAIN: dict[str, str] = {
    "append_p50_ms_1": "kafka_p50_ms_1",
    "fsyncs_per_append_1": "kafka_fsyncs_1",
    "fsyncs_per_append_128": "kafka_fsyncs_128",
}
FIGURES: dict[str, tuple[str, ...]] = {**{name: (figure,) for name, figure in PLAIN.items()}, **RATIOS}
"""What each result is made of."""
RESULTS = tuple(FIGURES)


async def appends(lab: Lab, broker: int | None) -> Outcome:
    """Every result that is wanted; sides that none of them needs have no turn."""
    sides: dict[str, turns.Turn] = {
        "kafka": functools.partial(_kafka, lab, broker),
        "etcd": functools.partial(_etcd, lab, etcd.Cluster.fastest),
        "etcd_python": functools.partial(_etcd, lab, etcd.Cluster.python),
        "mariadb": functools.partial(_mariadb, lab, mariadb.Server.fastest),
        "mariadb_python": functools.partial(_mariadb, lab, mariadb.Server.python),
        "embedded": functools.partial(_embedded, lab),
        "bare": functools.partial(_bare, lab),
    }
    wanted = [name for name in RESULTS if lab.scale.wants(name)]
    needed = {side_of(figure) for name in wanted for figure in FIGURES[name]}
    values, missing = await turns.taken({name: sides[name] for name in sides if name in needed}, lab.scale.rounds)
    return outcome_of(wanted, values, missing)


def outcome_of(wanted: Iterable[str], values: Mapping[str, Sequence[float]], missing: Mapping[str, str]) -> Outcome:
    """The results of the rounds; `missing` says by side why it had no turn."""
    outcome = Outcome()
    for name in wanted:
        lacking = [missing[side_of(figure)] for figure in FIGURES[name] if side_of(figure) in missing]
        if lacking:
            outcome.lack(name, lacking[0])
        elif name in RATIOS:
            outcome.add_ratio(name, *(values[figure] for figure in FIGURES[name]))
        else:
            outcome.add(name, rounds.figure(values[PLAIN[name]]))
    outcome.details["appends"] = {name: round(rounds.figure(found).value, 4) for name, found in values.items()}
    return outcome


def side_of(figure: str) -> str:
    """Whose turn gives it: its name up to what is measured."""
    side = figure.rpartition("_")[0]
    return side.removesuffix("_p50_ms").removesuffix("_fsyncs")


async def _kafka(lab: Lab, broker: int | None) -> dict[str, float]:
    async with volume(lab.bus, lab.folder, volume_name(lab, "kafka"), broker=broker) as ours:
        return await measured(ours, CLIENTS)


async def _embedded(lab: Lab) -> dict[str, float]:
    """This process owns the bus, as the supervisor does under `sixfold up`; the writer reaches it through its socket."""
    async with (
        _folder(lab) as folder,
        open_bus("embedded:", data_dir=folder) as bus,
        volume(bus, folder, "embedded", broker=os.getpid()) as ours,
    ):
        return await measured(ours, (128,))


async def _bare(lab: Lab) -> dict[str, float]:
    async with _folder(lab) as folder:
        job = Job(data_dir=str(folder), clients=(128,), seconds=SECONDS, syncs=str(folder / "syncs"))
        async with started(job.command()) as running:
            return figures_of(await running.said())


async def _etcd(lab: Lab, client: Callable[[etcd.Cluster, int, float], Awaitable[float]]) -> dict[str, float]:
    async with _folder(lab) as folder, etcd.cluster(folder) as cluster:
        return {str(clients): await client(cluster, clients, SECONDS) for clients in CLIENTS[1:]}


async def _mariadb(lab: Lab, client: Callable[[mariadb.Server, int, float], Awaitable[float]]) -> dict[str, float]:
    async with _folder(lab) as folder, mariadb.server(folder) as server:
        return {"128": await client(server, 128, SECONDS)}


@contextlib.asynccontextmanager
async def _folder(lab: Lab) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(dir=lab.folder) as folder:
        yield Path(folder)
