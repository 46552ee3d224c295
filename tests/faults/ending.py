"""What must hold once all is well again: what clients were told of is in all six copies, once, with its bytes."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path

from tests.faults import machine
from tests.history.recording import Operation, Recorder
from tests.support.waiting import eventually

from sixfold import catalogue
from sixfold.bus import open_bus
from sixfold_functions.volume import status, topics
from sixfold_functions.volume.client import VolumeClient
from sixfold_functions.volume.core import layout

LEVEL_S = 120.0
READ_RECORDS = 2_000


async def read_all(data_dir: Path, bus_url: str, recorder: Recorder) -> dict[str, list[bytes]]:
    """Each copy's records up to one last append, once all six have that; and a last read of everything, recorded.

    Raises AssertionError where they do not become level, or the tracker does not hear of it.
    """
    registry = catalogue.installed().registry
    async with open_bus(bus_url, data_dir=data_dir) as bus, VolumeClient(bus, registry=registry) as client:
        begun = recorder.invoke("last", "txn", value=[])
        last = machine.encode(machine.Command(id="last", f="nothing"))
        last_lsn = (await client.append([last], timeout_s=LEVEL_S)).last_lsn

        async def level() -> bool:
            found = await client.status()
            return found.answering == len(layout.COPIES) and min(copy.complete_lsn for copy in found.copies) >= last_lsn

        await eventually(level, f"all six copies have everything up to LSN {last_lsn}", LEVEL_S)

        async def tracked() -> bool:
            newest = await topics.last_records(bus, layout.topics(layout.DEFAULT_VOLUME).status, 1)
            events = [registry.decode(record.value, record.headers) for record in newest]
            return any(isinstance(event, status.Tracked) and event.durable_lsn >= last_lsn for event in events)

        await eventually(tracked, f"the tracker knows LSN {last_lsn} for durable", LEVEL_S)
        found = {copy: await _records(client, copy, last_lsn) for copy in layout.COPIES}
    state = machine.State()
    for record in found[layout.COPIES[0]]:
        state.apply(record)
    recorder.complete(begun, "ok", [["r", key, elements] for key, elements in sorted(state.lists.items())])
    for key, value in sorted(state.registers.items()):
        recorder.complete(recorder.invoke("last", "read", key), "ok", value)
    return found


async def _records(client: VolumeClient, copy: str, last_lsn: int) -> list[bytes]:
    records: list[bytes] = []

    async def read_on() -> bool:
        while len(records) < last_lsn:
            count = min(last_lsn - len(records), READ_RECORDS)
            payloads = (await client.read(len(records) + 1, count, copy=copy, timeout_s=30.0)).payloads
            if not payloads:
                return False  # level already; that all of it is durable it may hear a moment later
            records.extend(payloads)
        return True

    await eventually(read_on, f"{copy} gives everything up to LSN {last_lsn}", LEVEL_S)
    return records


def wrong(copies: dict[str, list[bytes]], operations: Sequence[Operation]) -> list[str]:
    """What does not hold, in words."""
    names = list(copies)
    records = copies[names[0]]
    found = [str(each.detail["wrong"]) for each in operations if "wrong" in each.detail]
    for name in names[1:]:
        differing = [lsn for lsn, (one, other) in enumerate(zip(records, copies[name], strict=True), 1) if one != other]
        found += [f"copies {names[0]} and {name} differ at LSN {lsn}" for lsn in differing[:3]]
    ids = [machine.decode(record).id for record in records]
    found += [f"{id_} is there {count} times" for id_, count in collections.Counter(ids).items() if count > 1]
    there = dict(zip(ids, records, strict=True))
    for each in operations:
        asked = [record.encode() for record in each.detail.get("records", ())]
        for offset, record in enumerate(asked):
            id_ = machine.decode(record).id
            if "lsn" in each.detail:
                lsn = each.detail["lsn"] + offset
                held = records[lsn - 1] if lsn <= len(records) else None
                if held != record:
                    found.append(f"{each.name} was acknowledged at LSN {lsn} as {record!r}, which holds {held!r}")
            elif each.outcome == "fail" and id_ in there:
                found.append(f"{each.name} was refused, and {record!r} is there")
            if id_ in there and there[id_] != record:
                found.append(f"{each.name} appended {record!r}, and {there[id_]!r} is there")
    return found
