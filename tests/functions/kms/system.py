"""A whole system for keys: a real bus, the functions in their workers, the gateway on real uvicorn, a local issuer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import capability as capabilities
from sixfold import clock as clocks
from sixfold import running
from sixfold.bus import port
from sixfold.bus.kafka import settings as kafka_settings
from sixfold.bus.kafka import topics
from sixfold.catalogue import Catalogue
from sixfold.gateway import app as apps
from sixfold.gateway import credentials
from sixfold.process import Process
from sixfold_events import Event
from sixfold_events.kms import KmsAudited
from sixfold_functions.identity import client as identity
from sixfold_functions.identity import local
from sixfold_functions.identity.capability import capability as identity_capability
from sixfold_functions.kms import audit
from sixfold_functions.kms import client as kms
from sixfold_functions.kms.capability import capability as kms_capability

E = TypeVar("E", bound=Event)
ISSUER = "local"
AUDIENCE = "sixfold"
CAPABILITIES = (identity_capability, kms_capability)


class ShiftedClock(clocks.SystemClock):
    """The machine's clock, with hands that a test can move."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclasses.dataclass
class System:
    """What a test holds in its hands."""

    process: Process
    clock: ShiftedClock
    url: str
    data_dir: Path
    secrets: list[bytes] = dataclasses.field(default_factory=list)
    """Everything that must be found nowhere."""

    @property
    def bus(self) -> port.Bus:
        return self.process.require_bus()

    def http(self, *, operator: bool = False) -> httpx.AsyncClient:
        headers = {}
        if operator:
            token = credentials.token(self.data_dir / credentials.FOLDER / credentials.BOOTSTRAP)
            headers["Authorization"] = f"Bearer {token}"
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    async def issuer(self) -> None:
        """Register the local issuer."""
        jwks = local.create(self.data_dir, ISSUER)
        await identity.register_issuer(self.process, local.url_of(ISSUER), audiences=[AUDIENCE], jwks=jwks)

    async def role(self, name: str, permission: list[dict[str, Any]], subject: str = "*@example.com") -> None:
        """Define a role that subjects of the local issuer with `subject` may assume."""
        issuer = local.url_of(ISSUER)
        condition = {"StringLike": {f"{issuer.removeprefix('https://')}:sub": subject}}
        await identity.define_role(
            self.process,
            name,
            trust_policy=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Federated": issuer},
                        "Action": "sts:AssumeRoleWithWebIdentity",
                        "Condition": condition,
                    },
                }
            ),
            permission_policy=json.dumps({"Version": "2012-10-17", "Statement": permission}),
        )

    def token(self, subject: str = "alice@example.com", *, lifetime_s: int = 600, **claims: Any) -> str:
        """A web identity token of the local issuer."""
        text = local.token(
            self.data_dir,
            ISSUER,
            subject=subject,
            audience=AUDIENCE,
            claims=claims,
            now_s=int(self.clock.now()),
            lifetime_s=lifetime_s,
        )
        self.secrets += [text.encode(), *(part.encode() for part in text.split(".")[1:])]
        return text

    async def assume(self, role: str, *, duration_s: int = 3600, **claims: Any) -> identity.Credentials:
        """Credentials of `role` for a token with these claims."""
        async with self.http() as http:
            found = await identity.assume_role(http, role=role, token=self.token(**claims), duration_s=duration_s)
        self.secrets.append(found.secret_access_key.encode())
        return found

    async def operator(self) -> identity.Credentials:
        """Credentials of the operator."""
        async with self.http(operator=True) as http:
            found = await identity.operator_credentials(http)
        self.secrets.append(found.secret_access_key.encode())
        return found

    def client(self, found: identity.Credentials) -> kms.KmsClient:
        """A client in the name of these credentials."""
        return kms.KmsClient(self.bus, found, clock=self.clock, timeout_s=20)

    async def key(self, alias: str = "alias/payments") -> str:
        """A new key's ARN."""
        async with self.client(await self.operator()) as client:
            return await client.create_key(alias=alias)

    async def records(self, topic: str) -> list[port.Record]:
        """Every record of a topic that is there now."""
        return await everything(self.bus, topic)

    async def events(self, cls: type[E]) -> list[E]:
        """Every event of one type that is there now, in the order of its partitions."""
        found = []
        for record in await self.records(cls.__event__.topic):
            if record.value is not None:
                event = self.process.registry.decode(record.value, record.headers)
                if isinstance(event, cls):
                    found.append(event)
        return found

    async def audited(self, event_name: str, error_code: str = "") -> dict[str, Any]:
        """The newest audit record of a call that ended so; waits for it, and holds that the chain is whole."""

        async def look() -> dict[str, Any] | None:
            links = await self.events(KmsAudited)
            assert audit.verify(links).problems == ()
            fitting = [link for link in links if (link.event_name, link.error_code) == (event_name, error_code)]
            return dict(json.loads(fitting[-1].record)) if fitting else None

        return await eventually(look, f"an audit record of {event_name} {error_code}") or {}


async def everything(bus: port.Bus, topic: str) -> list[port.Record]:
    """Every record of a topic that is there now."""
    spec = (await bus.topics())[topic]
    found: list[port.Record] = []
    for number in range(spec.partitions):
        partition = port.TopicPartition(topic, number)
        end = (await bus.offsets(partition)).end
        async with bus.assign([partition]) as consumer:
            at = 0
            while at < end:
                fetched = (await consumer.fetch(wait_s=0.5)).get(partition, [])
                if not fetched:
                    break
                found += fetched
                at = fetched[-1].offset + 1
    return found


@contextlib.asynccontextmanager
async def running_system(place: buses.Place) -> AsyncIterator[System]:
    """Bus, functions and gateway on a new data folder."""
    place.data_dir.mkdir(parents=True, exist_ok=True)
    credentials.bootstrap(place.data_dir)
    catalogue, clock = Catalogue(CAPABILITIES), ShiftedClock()
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    functions = [each for capability in CAPABILITIES for each in capabilities.functions_of(capability)]
    async with buses.open_bus(place) as bus:
        await bus.create_topics(catalogue.topics)
        process = Process(name="test", data_dir=place.data_dir, registry=catalogue.registry, bus=bus, clock=clock)
        working = asyncio.create_task(
            running.run_functions(process, functions, stopping=process.stopping, topics=catalogue.topics)
        )
        app = apps.create_app(process, CAPABILITIES, url)
        server = _Server(
            uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await eventually(lambda: server.started, "the gateway serves")
            yield System(process, clock, url, place.data_dir)
        finally:
            process.stopping.set()
            server.should_exit = True
            await asyncio.gather(serving, working)
            await process.resources.close()
            if place.is_kafka:
                await delete_topics(place)


async def delete_topics(place: buses.Place) -> None:
    """What this system left on a cluster, tables included: the next one must find nothing."""
    admin = topics.TopicAdmin(place.url.removeprefix("kafka://"), clocks.SystemClock(), kafka_settings.KafkaSettings())
    await admin.open()
    try:
        ours = [name for name in await admin.describe(None) if name.startswith(("kms.", "identity."))]
        await asyncio.gather(*(admin.delete(name) for name in ours))
    finally:
        await admin.close()
