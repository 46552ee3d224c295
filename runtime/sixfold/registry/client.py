"""A client of Confluent's schema registry API. Source: Confluent Schema Registry API Reference.

A request that fails on the way, or that a registry cannot answer just now, is sent again, to the next URL where there
are several. Every request may be sent twice: registering is idempotent, and a deletion that was done says so.
"""

from __future__ import annotations

import functools
import json
import random
import ssl
import urllib.parse
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from sixfold import clock as clocks
from sixfold import errors, system
from sixfold.gateway import credentials
from sixfold.registry.failures import (
    IncompatibleError,
    NotRegisteredError,
    RegistryError,
    RegistryUnavailableError,
)
from sixfold.registry.settings import EMBEDDED, RegistrySettings
from sixfold_events import canonical

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
EMBEDDED_PATH = "/registry"
CACHED_MAX = 1_000
"""Schemas kept by id; as Confluent's clients."""
_AGAIN = (408, 429, 500, 502, 503, 504)
_BACKOFF_MAX_S = 5.0


class Registered(NamedTuple):
    """A schema as a version of a subject."""

    id: int
    version: int | None
    """None where the registry does not say it (Confluent's before 7.9 at a registration)."""
    guid: uuid.UUID | None
    """None where the registry has none (Confluent's before 8.0)."""


class Version(NamedTuple):
    """A version of a subject with its schema."""

    subject: str
    version: int
    id: int
    schema: Any


class RegistryClient:
    """One registry. Use as an async context manager, or `close` it. Safe for all tasks of one event loop."""

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        data_dir: Path | None = None,
        clock: clocks.Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`data_dir` is where the running system is looked for if the registry is `embedded:`."""
        if not settings.urls:
            raise errors.UsageError(
                "no schema registry is configured; set SIXFOLD_REGISTRY_URL, or give --registry URL"
            )
        self._settings = settings
        self._data_dir = data_dir
        self._clock = clock or clocks.SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 (spreads retries, guards nothing)
        self._cached: dict[int | uuid.UUID, Any] = {}
        self._first = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if "_http" in self.__dict__:
            await self._http.aclose()
            del self.__dict__["_http"]

    async def schema(self, identifier: int | uuid.UUID) -> Any:
        """The schema of an id or a GUID; asked for once. Raises NotRegisteredError."""
        if identifier not in self._cached:
            kind = "ids" if isinstance(identifier, int) else "guids"
            found = await self._ask("GET", f"/schemas/{kind}/{identifier}")
            if found.get("schemaType", "AVRO") != "AVRO" or found.get("references"):
                what = "references to others" if found.get("references") else f"type {found['schemaType']}"
                raise RegistryError(f"schema {identifier} has {what}; expected an Avro schema that is whole by itself")
            if len(self._cached) >= CACHED_MAX:
                del self._cached[next(iter(self._cached))]
            self._cached[identifier] = _parsed(found.get("schema"), f"schema {identifier}")
        return self._cached[identifier]

    async def register(self, subject: str, schema: Any) -> Registered:
        """Make `schema` a version of `subject`, or find that it is one. Raises IncompatibleError."""
        found = await self._ask("POST", f"/subjects/{_quoted(subject)}/versions", _body(schema))
        return _registered(found)

    async def lookup(self, subject: str, schema: Any) -> Registered:
        """The version of `subject` that is `schema`. Raises NotRegisteredError."""
        return _registered(await self._ask("POST", f"/subjects/{_quoted(subject)}", _body(schema)))

    async def problems(self, subject: str, schema: Any) -> list[str]:
        """Why `schema` may not be the next version of `subject`; empty where it may, or where the subject is new."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions?verbose=true"
        try:
            found = await self._ask("POST", path, _body(schema))
        except NotRegisteredError:
            return []
        if found["is_compatible"]:
            return []
        return [str(each) for each in found.get("messages") or ["the registry does not say why"]]

    async def subjects(self, prefix: str = "") -> list[str]:
        """Names of all subjects."""
        query = f"?subjectPrefix={_quoted(prefix)}" if prefix else ""
        return [str(each) for each in await self._ask("GET", f"/subjects{query}")]

    async def versions(self, subject: str) -> list[int]:
        """Version numbers of a subject. Raises NotRegisteredError."""
        return [int(each) for each in await self._ask("GET", f"/subjects/{_quoted(subject)}/versions")]

    async def version(self, subject: str, version: int | None = None) -> Version:
        """A version of a subject, the newest if None. Raises NotRegisteredError."""
        found = await self._ask("GET", f"/subjects/{_quoted(subject)}/versions/{version or 'latest'}")
        return Version(subject, found["version"], found["id"], _parsed(found.get("schema"), f"subject {subject}"))

    async def delete_version(self, subject: str, version: int, *, permanent: bool = False) -> None:
        """Delete a version, softly or (once it is) for good."""
        await self._ask("DELETE", f"/subjects/{_quoted(subject)}/versions/{version}{_permanent(permanent)}")

    async def delete_subject(self, subject: str, *, permanent: bool = False) -> list[int]:
        """Delete all versions of a subject, softly or (once they are) for good; their numbers."""
        return [int(each) for each in await self._ask("DELETE", f"/subjects/{_quoted(subject)}{_permanent(permanent)}")]

    async def compatibility(self, subject: str = "") -> str:
        """The compatibility level that holds for a subject, or globally."""
        path = f"/config/{_quoted(subject)}?defaultToGlobal=true" if subject else "/config"
        return str((await self._ask("GET", path))["compatibilityLevel"])

    async def set_compatibility(self, level: str, subject: str = "") -> None:
        """Set the compatibility level of a subject, or globally."""
        path = f"/config/{_quoted(subject)}" if subject else "/config"
        await self._ask("PUT", path, {"compatibility": level})

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request, sent again as often as the settings allow."""
        urls, why = self._settings.urls, ""
        for attempt in range(1, self._settings.attempts_max + 1):
            index = (self._first + attempt - 1) % len(urls)
            try:
                url, headers = self._place(urls[index])
                answer = await self._http.request(method, url + path, json=body, headers=headers)
            except (httpx.TransportError, RegistryUnavailableError) as error:
                why = f"{type(error).__name__}: {error}" if isinstance(error, httpx.TransportError) else str(error)
            else:
                if answer.status_code not in _AGAIN:
                    self._first = index  # the others wait until this one fails
                    return _content(answer, method, path)
                why = f"it answers {answer.status_code}: {_problem(answer)[1]}"
            if attempt < self._settings.attempts_max and attempt % len(urls) == 0:  # all of them failed
                wait_s = min(self._settings.backoff_s * 2.0 ** (attempt // len(urls) - 1), _BACKOFF_MAX_S)
                await self._clock.sleep(wait_s * self._rng.uniform(0.5, 1.0))
        raise RegistryUnavailableError(
            f"the schema registry at {', '.join(urls)} does not answer {method} {path.partition('?')[0]} in "
            f"{self._settings.attempts_max} attempts; {why}"
        )

    def _place(self, url: str) -> tuple[str, dict[str, str]]:
        """Where to send a request, and what to show there."""
        accept = {"Accept": f"{CONTENT_TYPE}, application/json"}
        if url != EMBEDDED:
            if self._settings.token:
                accept["Authorization"] = f"Bearer {self._settings.token}"
            return url.rstrip("/"), accept
        recorded = system.read(self._data_dir) if self._data_dir is not None else None
        if recorded is None:
            raise RegistryUnavailableError(f"no gateway runs on {self._data_dir}; start it with `sixfold up`")
        assert self._data_dir is not None
        token = credentials.token(self._data_dir / credentials.FOLDER / credentials.BOOTSTRAP)
        return recorded.gateway_url + EMBEDDED_PATH, {**accept, "Authorization": f"Bearer {token}"}

    @functools.cached_property
    def _http(self) -> httpx.AsyncClient:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
            if settings.certificate_file:
                context.load_cert_chain(settings.certificate_file, settings.key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise errors.UsageError(f"the schema registry's certificates cannot be used: {error}") from error
        basic = httpx.BasicAuth(settings.user, settings.password) if settings.user and not settings.token else None
        return httpx.AsyncClient(verify=context, auth=basic, timeout=settings.timeout_s, trust_env=False)


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _permanent(permanent: bool) -> str:
    return "?permanent=true" if permanent else ""


def _body(schema: Any) -> dict[str, str]:
    return {"schema": json.dumps(schema)}


def _parsed(text: Any, what: str) -> Any:
    try:
        return canonical.parse(str(text))
    except canonical.InvalidSchemaError as error:
        raise RegistryError(f"the registry's {what} cannot be used: {error}") from error


def _registered(found: Mapping[str, Any]) -> Registered:
    guid = found.get("guid")
    return Registered(int(found["id"]), found.get("version"), uuid.UUID(guid) if guid else None)


def _problem(answer: httpx.Response) -> tuple[int, str]:
    """The registry's own code and message, as far as there are any."""
    try:
        found = answer.json()
        return int(found.get("error_code") or 0), str(found.get("message") or found.get("detail") or "")
    except (ValueError, TypeError, AttributeError):
        return 0, answer.text[:200].strip()


def _content(answer: httpx.Response, method: str, path: str) -> Any:
    status, asked = answer.status_code, f"{method} {path.partition('?')[0]}"
    if answer.is_success:
        try:
            return answer.json()
        except ValueError as error:
            raise RegistryError(
                f"{asked}: expected JSON from a schema registry, found {answer.text[:100]!r}; check its URL"
            ) from error
    code, message = _problem(answer)
    if status in (401, 403):
        raise RegistryError(
            f"the schema registry refuses {asked} with {status}: {message or 'no reason given'}; check "
            "SIXFOLD_REGISTRY_USER and _PASSWORD, or _TOKEN",
            status=status,
            code=code,
        )
    # A path that the registry does not have is another 404 than a schema that it does not have.
    if status == 404 and code >= 40400:
        raise NotRegisteredError(message, status=status, code=code)
    if status == 409:
        raise IncompatibleError(message, status=status, code=code)
    raise RegistryError(
        f"the schema registry refuses {asked} with {code or status}: {message}", status=status, code=code
    )
