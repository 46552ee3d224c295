"""What one process does with a registry: it learns schemas that it does not know, and registers those that it writes.

The system's own events keep their fingerprints: what its parts tell each other must be readable while a registry is
away. So only a user's types are announced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import structlog

from sixfold import errors
from sixfold.process import Process
from sixfold.registry import failures
from sixfold.registry import settings as settings_
from sixfold.registry.settings import Identifier, RegistrySettings
from sixfold.registry.subjects import subject_of
from sixfold_events import DecodeError, Event, avro, canonical, framing
from sixfold_events.registry import SchemaConflictError, UnknownSchemaError

if TYPE_CHECKING:
    from sixfold.registry.client import Registered, RegistryClient

T = TypeVar("T")
Ask = Callable[[type[Event], str, avro.Schema], Awaitable["Registered | None"]]

_SYSTEM = "sixfold_events"

UNKNOWN_S = 30.0
"""An id that the registry did not know is asked for again after this: whoever wrote it may register it late."""
WAIT_S = 0.5
WAIT_MAX_S = 10.0


class Schemas:
    """The registry of one process."""

    def __init__(self, process: Process, settings: RegistrySettings) -> None:
        self._process = process
        self._settings = settings
        self._lock = asyncio.Lock()
        self._unknown: dict[framing.Identifier, tuple[float, str]] = {}
        self._learnt: set[framing.Identifier] = set()
        self._client: RegistryClient | None = None
        if settings.urls:
            # It loads httpx, which a process without a registry does not need.
            from sixfold.registry.client import RegistryClient

            self._client = RegistryClient(settings, data_dir=process.data_dir, clock=process.clock)

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    async def resolve(self, unknown: UnknownSchemaError) -> None:
        """Learn the schema that a record names; then it can be decoded.

        Raises `unknown` where no registry is configured, DecodeError where it does not know the schema either, and
        RegistryUnavailableError, which is temporary, where it does not answer.
        """
        if self._client is None:
            raise unknown
        identifier = unknown.identifier
        async with self._lock:
            if identifier in self._learnt:
                return
            until_s, why = self._unknown.get(identifier, (0.0, ""))
            if self._process.clock.monotonic() < until_s:
                raise DecodeError(why)
            try:
                self._process.registry.learn(identifier, await self._client.schema(identifier))
            except (failures.RegistryError, SchemaConflictError) as error:
                if isinstance(error, failures.RegistryError) and error.status in (401, 403):
                    raise failures.RegistryUnavailableError(str(error)) from error  # no record is at fault
                why = f"{unknown}; the schema registry says: {error}"
                self._unknown[identifier] = (self._process.clock.monotonic() + UNKNOWN_S, why)
                raise DecodeError(why) from error
            self._learnt.add(identifier)

    async def announce(self, classes: Iterable[type[Event]]) -> None:
        """Register these types, or find that they are registered, and have them written as the registry names them.

        Waits for a registry that does not answer, until the process is to stop. Raises IncompatibleError, or
        NotRegisteredError where types are not to be registered and one is missing. The system's own are passed over.
        """
        for cls in dict.fromkeys(classes):
            if self._is_framed(cls):
                await self._announce(cls, self._patiently)

    async def frame(self, cls: type[Event]) -> framing.Frame | None:
        """How events of `cls` are written, None for their fingerprint; announced at the first call.

        Raises as `announce` does, and RegistryUnavailableError where the registry does not answer.
        """
        if self._is_framed(cls) and self._process.registry.frame_of(cls) is None:
            await self._announce(cls, self._once)
        return self._process.registry.frame_of(cls)

    def _is_framed(self, cls: type[Event]) -> bool:
        configured = self._client is not None or self._settings.identifier is Identifier.HEADER
        return configured and cls.__module__.partition(".")[0] != _SYSTEM

    async def _announce(self, cls: type[Event], ask: Ask) -> None:
        schema = avro.schema_of(cls)
        if self._client is None:
            guid = canonical.guid(canonical.text(schema))
            self._process.registry.use_frame(cls, framing.by_guid(guid))
            return
        found = await ask(cls, subject_of(self._settings.subjects, cls.__event__.topic, schema), schema)
        if found is not None:
            self._process.registry.learn(found.id, schema)
            self._process.registry.use_frame(cls, self._frame(found))

    async def _patiently(self, cls: type[Event], subject: str, schema: avro.Schema) -> Registered | None:
        assert self._client is not None
        wait_s = WAIT_S
        while not self._process.stopping.is_set():
            try:
                return await self._once(cls, subject, schema)
            except failures.RegistryUnavailableError as error:
                structlog.get_logger().warning(
                    "waiting for the schema registry", action="registry.waiting", subject=subject, why=str(error)
                )
            sleeping = asyncio.ensure_future(self._process.clock.sleep(wait_s))
            stopping = asyncio.ensure_future(self._process.stopping.wait())
            await asyncio.wait((sleeping, stopping), return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            stopping.cancel()
            wait_s = min(wait_s * 2, WAIT_MAX_S)
        return None

    async def _once(self, cls: type[Event], subject: str, schema: avro.Schema) -> Registered:
        assert self._client is not None
        if self._settings.auto_register:
            try:
                return await self._client.register(subject, schema)
            except failures.IncompatibleError as error:
                raise failures.IncompatibleError(
                    f"{cls.__event__.type} cannot be written: {error}. Take the change back, or see what breaks with "
                    f"`sixfold schema diff registry:{subject} {cls.__event__.type}`",
                    status=error.status,
                    code=error.code,
                ) from error
        try:
            return await self._client.lookup(subject, schema)
        except failures.NotRegisteredError as error:
            raise failures.NotRegisteredError(
                f"{cls.__event__.type} is not registered as {subject}, and this process does not register types: run "
                "`sixfold schema register --apply`, or set SIXFOLD_REGISTRY_AUTO_REGISTER=true",
                status=error.status,
                code=error.code,
            ) from error

    def _frame(self, found: Registered) -> framing.Frame:
        if self._settings.identifier is Identifier.PREFIX:
            return framing.by_id(found.id)
        if found.guid is None:
            raise errors.UsageError(
                "the schema registry gives no GUIDs (Confluent's does from 8.0 on); set SIXFOLD_REGISTRY_IDENTIFIER=prefix"
            )
        return framing.by_guid(found.guid)


async def decoded(process: Process, decode: Callable[[], T]) -> T:
    """What `decode` returns; where it meets a schema that nobody here knows, it is learnt and `decode` called again.

    Raises as `decode` and `Schemas.resolve` do.
    """
    try:
        return decode()
    except UnknownSchemaError as unknown:
        schemas = await process.resources.get(open_schemas)
        await schemas.resolve(unknown)
        return decode()


async def frame_of(process: Process, cls: type[Event]) -> framing.Frame | None:
    """As `Schemas.frame`, of the registry that the environment names."""
    return await (await process.resources.get(open_schemas)).frame(cls)


def open_schemas(process: Process) -> Schemas:
    """For `process.resources.get` and `ctx.resource`: the registry that the environment names."""
    return Schemas(process, settings_.from_environment(os.environ))
