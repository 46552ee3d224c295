"""`kill -9` of the key service while it works: what was answered is audited, the chain is whole, keys still open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.functions.kms import system as systems
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold.bus import open_bus
from sixfold.catalogue import Catalogue
from sixfold.process import Process
from sixfold_events.kms import KeyAnswered, KmsAudited
from sixfold_functions.identity import client as identity
from sixfold_functions.identity import core, sessions
from sixfold_functions.kms import audit
from sixfold_functions.kms import client as kms

KILLS = 4


async def start(data_dir: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sixfold", "--data-dir", str(data_dir), "run", "kms.serve", "kms.record-calls"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
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


@pytest.mark.slow
async def test_a_killed_key_service_loses_no_audit_record_and_no_key(tmp_path: Path) -> None:
    """Each answer has its record, the chain has no gap and no fork, and every data key opens after the last kill."""
    catalogue = Catalogue(systems.CAPABILITIES)
    async with open_bus("embedded:", data_dir=tmp_path) as bus:
        await bus.create_topics(catalogue.topics)
        process = Process(name="test", data_dir=tmp_path, registry=catalogue.registry, bus=bus)
        system = systems.System(process, systems.ShiftedClock(), "", tmp_path)
        credentials = await operator(process)
        made: list[tuple[str, kms.DataKey]] = []
        stop = asyncio.Event()
        worker = await start(tmp_path)
        try:
            async with kms.KmsClient(bus, credentials, clock=clocks.SystemClock(), timeout_s=20) as client:
                await client.create_key(alias="alias/crash")
                asking = [asyncio.create_task(ask(client, made, str(number), stop)) for number in range(8)]
                for _ in range(KILLS):
                    enough = len(made) + 25
                    await eventually(lambda enough=enough: len(made) >= enough, "data keys are issued")  # type: ignore[misc]
                    worker.kill()
                    await worker.wait()
                    worker = await start(tmp_path)
                before = len(made)
                await eventually(lambda: len(made) > before, "it goes on after the last kill")
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
        records = [json.loads(link.record) for link in links]
        audited = Counter(record["requestID"] for record in records)
        answered = Counter(each.request_id for each in await system.events(KeyAnswered))
        assert set(answered) <= set(audited)
        assert max(answered.values()) == 1
        await process.resources.close()
