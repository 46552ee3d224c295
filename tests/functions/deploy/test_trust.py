"""Who may tell an agent what, and who may ask the gateway for what."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import stat
from pathlib import Path

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.functions.deploy.system import System, hooks

from sixfold.gateway import credentials
from sixfold.publisher import Publisher
from sixfold_events import deploy as events
from sixfold_functions.deploy import command, signing
from sixfold_functions.deploy.agent.settings import Settings

COMMAND = command.Command(
    command_id="d1/i-1",
    instance="i-1",
    group="production",
    deployment_id="d1",
    application="web",
    revision="abc",
    artifact="0" * 64,
    appspec="appspec.yml",
    issued_at_ms=1_000,
    expires_at_ms=61_000,
)


def test_a_signed_command_comes_out_as_it_went_in() -> None:
    """Signature and payload together are the command."""
    key = Ed25519PrivateKey.generate()
    assert command.verify(*command.sign(COMMAND, key), key.public_key()) == COMMAND


def test_a_command_with_any_bit_changed_is_refused() -> None:
    """Every bit of the payload and of the signature counts."""
    key = Ed25519PrivateKey.generate()
    payload, signature = command.sign(COMMAND, key)
    for index in itertools.chain(range(0, len(payload) * 8, 7), range(len(payload) * 8, (len(payload) + 64) * 8, 5)):
        whole = bytearray(payload + signature)
        whole[index // 8] ^= 1 << index % 8
        with pytest.raises(command.CommandRefusedError, match="not by this system's deployment signing key"):
            command.verify(bytes(whole[: len(payload)]), bytes(whole[len(payload) :]), key.public_key())


def test_a_signature_for_another_purpose_is_none_for_a_command() -> None:
    """The bare payload, signed by the right key without the purpose, is refused."""
    key = Ed25519PrivateKey.generate()
    payload, _ = command.sign(COMMAND, key)
    with pytest.raises(command.CommandRefusedError):
        command.verify(payload, key.sign(payload), key.public_key())


@pytest.mark.parametrize(
    ("instance", "group", "now_ms", "said"),
    [
        ("i-2", "production", 2_000, "it is for instance 'i-1', this is 'i-2'"),
        ("i-1", "staging", 2_000, "it is for group 'production', this instance is in 'staging'"),
        ("i-1", "production", 65_000, "it expired 4 s ago"),
    ],
)
def test_a_command_for_another_instance_group_or_time_is_refused(
    instance: str, group: str, now_ms: int, said: str
) -> None:
    """A signature alone is not enough."""
    with pytest.raises(command.CommandRefusedError, match=said):
        command.admit(COMMAND, instance, group, now_ms)


def test_the_signing_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    """0600, the same key at every start, and refused once others could read it."""
    public = signing.ensure(tmp_path).read_bytes()
    private = tmp_path / "deploy" / "signing.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert signing.ensure(tmp_path).read_bytes() == public
    private.chmod(0o644)
    with pytest.raises(signing.SigningKeyError, match="chmod 600"):
        signing.private_key(private)


async def test_an_agent_refuses_forged_and_repeated_commands(system: System) -> None:
    """A command signed by another key does nothing; a good one put into the log again does not run again."""
    await system.start_agent("i-1")
    count = hooks(AfterInstall='echo ran >> "$INSTANCE_ROOT/count"')
    assert (await system.deploy("d1", count)).status == "Succeeded"
    (genuine,) = await system.events(events.DeploymentCommanded)
    trusted = signing.public_key(system.data_dir / "deploy" / "signing.pub")
    order = command.verify(genuine.payload, genuine.signature, trusted)
    forged = msgspec.structs.replace(order, command_id="d9/i-1", deployment_id="d9")
    payload, signature = command.sign(forged, Ed25519PrivateKey.generate())
    mallory = Publisher(system.process.require_bus(), source="/mallory")
    await mallory.publish(
        msgspec.structs.replace(genuine, command_id="d9/i-1", payload=payload, signature=signature), genuine
    )
    # A later genuine command has come through the same queue, after those two, once its deployment has ended.
    assert (await system.deploy("d2", count)).status == "Succeeded"
    assert (system.folder("i-1") / "root" / "count").read_text() == "ran\nran\n"
    assert await system.steps("d9", "i-1") == []
    assert "refused a command" in system.log("i-1")


async def test_an_agent_sees_its_own_commands_only(system: System) -> None:
    """Another instance's path is 403, no credential 401, and an operator is no agent."""
    own = httpx.Headers({"Authorization": f"Bearer {_token(system, 'i-1')}"})
    operator = credentials.token(credentials.bootstrap(system.data_dir))
    query = "?group=production&after=-1&wait=0"
    async with httpx.AsyncClient(base_url=system.url, trust_env=False) as client:
        assert (await client.get(f"/deploy/agents/i-1/commands{query}", headers=own)).json() == {"commands": []}
        for method, path in (("GET", f"/deploy/agents/i-2/commands{query}"), ("POST", "/deploy/agents/i-2/reports")):
            assert (await client.request(method, path, headers=own)).status_code == 403
            assert (await client.request(method, path)).status_code == 401
            other = await client.request(method, path, headers={"Authorization": "Bearer wrong"})
            assert other.status_code == 401
            as_operator = await client.request(method, path, headers={"Authorization": f"Bearer {operator}"})
            assert as_operator.status_code == 403


async def test_an_artifact_is_given_only_to_an_instance_that_is_to_install_it(system: System) -> None:
    """An agent that has no command for an artifact gets 403, whether it exists or not."""
    await system.start_agent("i-1")
    await system.deploy("d1", hooks(AfterInstall="true"))
    (commanded,) = await system.events(events.DeploymentCommanded)
    async with httpx.AsyncClient(base_url=system.url, trust_env=False) as client:
        for instance, digest, status in (
            ("i-1", commanded.artifact, 200),
            ("i-2", commanded.artifact, 403),
            ("i-1", "0" * 64, 403),
        ):
            headers = {"Authorization": f"Bearer {_token(system, instance)}"}
            answer = await client.get(f"/deploy/artifacts/{digest}", headers=headers)
            assert answer.status_code == status
            if status == 200:
                assert int(answer.headers["content-length"]) == len(answer.content) > 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("commands?group=a%20b&after=-1&wait=0", "group is 'a b'"),
        ("commands?group=a&after=x&wait=0", "expected after=NUMBER"),
        ("commands?group=a&after=1&wait=-5", "wait=SECONDS"),
    ],
)
async def test_a_poll_that_makes_no_sense_is_refused(system: System, path: str, said: str) -> None:
    """400 with what was expected."""
    headers = {"Authorization": f"Bearer {_token(system, 'i-1')}"}
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, headers=headers) as client:
        answer = await client.get(f"/deploy/agents/i-1/{path}")
        assert answer.status_code == 400
        assert said in answer.json()["detail"]


async def test_a_report_that_makes_no_sense_is_refused_and_a_large_one_too(system: System) -> None:
    """400 for what is no report, 413 beyond the limit; nothing of either reaches the log."""
    headers = {"Authorization": f"Bearer {_token(system, 'i-1')}"}
    report = {"report_id": "r", "group": "g", "deployment_id": "d", "lifecycle_event": "Install", "status": "Failed"}
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, headers=headers) as client:
        for body, status in (
            (b"{", 400),
            (json.dumps({**report, "status": "Maybe"}).encode(), 400),
            (json.dumps({**report, "log_tail": "x" * 2049}).encode(), 400),
            (json.dumps({**report, "surprise": 1}).encode(), 400),
            (json.dumps({**report, "message": "x" * 70_000}).encode(), 413),
        ):
            assert (await client.post("/deploy/agents/i-1/reports", content=body)).status_code == status
        assert await system.events(events.DeploymentStepReported) == []
        good = await client.post("/deploy/agents/i-1/reports", content=json.dumps(report).encode())
        assert good.status_code == 204
    (stored,) = await system.events(events.DeploymentStepReported)
    assert (stored.instance, stored.status) == ("i-1", "Failed")


async def test_a_poll_waits_for_a_command_and_is_answered_when_the_gateway_stops(system: System) -> None:
    """The long poll holds until something comes: a command within moments, or the end."""
    headers = {"Authorization": f"Bearer {_token(system, 'i-1')}"}
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, headers=headers, timeout=40) as client:
        path = "/deploy/agents/i-1/commands?group=production&wait=25&after="
        polling = asyncio.create_task(client.get(path + "-1"))
        await system.eventually(events.AgentSeen, lambda each: each.instance == "i-1")
        await system.request("d1", await system.store(hooks(AfterInstall="true")))
        (found,) = (await polling).json()["commands"]
        payload = json.loads(base64.b64decode(found["payload"]))
        assert (payload["deployment_id"], payload["instance"]) == ("d1", "i-1")
        waiting = asyncio.create_task(client.get(path + str(found["position"])))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, "nothing new: the poll is held"
        system.gateway.process.stopping.set()
        assert (await waiting).json() == {"commands": []}


def _token(system: System, instance: str) -> str:
    return credentials.token(credentials.create(system.data_dir, kind="agent", name=instance))


def test_an_agent_learns_the_gateways_address_from_the_systems_record(tmp_path: Path) -> None:
    """The record is read each time, so a gateway that comes back on another port is found."""
    record = tmp_path / "gateway.json"
    settings = Settings(
        instance="i-1",
        group="g",
        folder=tmp_path,
        credential=tmp_path / "token",
        public_key=tmp_path / "key",
        gateway=str(record),
    )
    for port in (1, 2):
        record.write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}))
        assert settings.gateway_url() == f"http://127.0.0.1:{port}"
