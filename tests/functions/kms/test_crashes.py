"""`kill -9` of the key service while it works: what was answered is audited, the chain is whole, keys still open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.functions.kms import system as systems
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold.bus import open_bus, port
from sixfold.catalogue import Catalogue
from sixfold.process import Process
from sixfold_events.kms import KeyAnswered, KmsAudited
from sixfold_functions.identity import client as identity
from sixfold_functions.identity import core, sessions
from sixfold_functions.kms import audit
from sixfold_functions.kms import client as kms

KILLS, KILLS_KAFKA = 4, 2
DEADLINE_S = 60.0
"""A cluster takes a killed member for dead after ten seconds."""


async def start(place: buses.Place) -> asyncio.subprocess.Process:
    system = ("--data-dir", str(place.data_dir), "--bus", place.url)
    with (place.data_dir / "worker.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sixfold", *system, "run", "kms.serve", "kms.record-calls"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


async def operator(process: Process) -> identity.Credentials:
    vault = await process.resources.get(kms.open_vault)
    now_s = int(process.clock.now())
    session = sessions.Session(
        access_key_id="ASIAAAAAAAAAAAAAAAAA", kind=sessions.ROOT, role="", name="t", issued_at_s=now_s,
        expires_at_s=now_s + 900,
    )  # fmt: skip
    assert core.session_arn(session).endswith(":root")
    return sessions.mint(identity.SessionKeys(*vault.session_keys()), session, lambda count: bytes(count))


async def ask(client: kms.KmsClient, made: list[tuple[str, kms.DataKey]], name: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(kms.NoAnswerError):
            made.append((name, await client.generate_data_key("alias/crash", {"asker": name})))


@pytest.fixture
async def bus(place: buses.Place) -> AsyncIterator[port.Bus]:
    """A bus with the topics, and none of them left on a cluster."""
    async with open_bus(place.url, data_dir=place.data_dir) as opened:
        await opened.create_topics(Catalogue(systems.CAPABILITIES).topics)
        yield opened
        if place.is_kafka:
            await systems.delete_topics(place)


@pytest.mark.slow
async def test_a_killed_key_service_loses_no_audit_record_and_no_key(place: buses.Place, bus: port.Bus) -> None:
    """Each answer has its record, the chain has no gap and no fork, and every data key opens after the last kill."""
    registry = Catalogue(systems.CAPABILITIES).registry
    process = Process(name="test", data_dir=place.data_dir, registry=registry, bus=bus)
    system = systems.System(process, systems.ShiftedClock(), "", place.data_dir)
    credentials = await operator(process)
    made: list[tuple[str, kms.DataKey]] = []
    stop = asyncio.Event()
    worker = await start(place)
    try:
        async with kms.KmsClient(bus, credentials, clock=clocks.SystemClock(), timeout_s=DEADLINE_S) as client:
            await client.create_key(alias="alias/crash")
            asking = [asyncio.create_task(ask(client, made, str(number), stop)) for number in range(8)]
            for _ in range(KILLS_KAFKA if place.is_kafka else KILLS):
                await more(made, 25, asking)
                worker.kill()
                await worker.wait()
                worker = await start(place)
            await more(made, 1, asking)
            stop.set()
            await asyncio.gather(*asking)
            for name, key in made[:: len(made) // 10]:
                assert await client.decrypt(key.ciphertext_blob, {"asker": name}) == key.plaintext
    finally:
        worker.terminate()
        await worker.wait()
    links = await system.events(KmsAudited)
    report = audit.verify(links)
    assert report.problems == ()
    audited = {json.loads(link.record)["requestID"] for link in links}
    answered = Counter(each.request_id for each in await system.events(KeyAnswered))
    assert set(answered) <= audited
    # On a cluster links and answers may be stored without the state, then their requests are handled again (DESIGN.md).
    assert place.is_kafka or (max(answered.values()), report.repeated) == (1, 0)
    await process.resources.close()


async def more(made: list[tuple[str, kms.DataKey]], count: int, asking: list[asyncio.Task[None]]) -> None:
    """Wait until `count` more data keys were issued; whoever asks must not have failed."""
    enough = len(made) + count

    def are_there() -> bool:
        for task in asking:
            if task.done():
                task.result()
        return len(made) >= enough

    await eventually(are_there, "data keys are issued", DEADLINE_S)
