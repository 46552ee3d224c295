"""The registry's REST API below `/registry`. Source: Confluent Schema Registry API Reference.

Where the API lists parts of a path after a subject, the longer path comes first: a subject may hold slashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from sixfold.gateway import Gateway, Route
from sixfold_functions.registry import answers, core, requests
from sixfold_functions.registry.requests import Asked, Handler
from sixfold_functions.registry.state import GLOBAL
from sixfold_functions.registry.store import Store
from sixfold_functions.registry.topics import SCHEMA_BYTES_MAX

PREFIX = "/registry"
API_VERSION = "8.0.0"
"""Of Confluent's registry, as clients look for it: the first with GUIDs."""
_NO_OTHER_SETTINGS = ("compatibilityGroup", "defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet")


def routes(gateway: Gateway) -> Sequence[Route]:
    """The routes; the first request reads the log."""
    api = _Api(Store(gateway.process))
    gateway.on_stop.append(api.store.close)
    return [
        Route(
            path=PREFIX + path,
            endpoint=requests.endpoint(handlers),
            methods=tuple(handlers),
            body_bytes_max=2 * SCHEMA_BYTES_MAX,
        )
        for path, handlers in api.paths().items()
    ]


class _Api:
    """The handlers."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def paths(self) -> Mapping[str, Mapping[str, Handler]]:
        """Handlers by path and method."""
        subject = "/subjects/{subject:path}"
        return {
            "/": {"GET": self.root},
            "/subjects": {"GET": self.subjects},
            f"{subject}/versions/{{version}}/schema": {"GET": self.version_schema},
            f"{subject}/versions/{{version}}/referencedby": {"GET": self.referenced_by},
            f"{subject}/versions/{{version}}": {"GET": self.version, "DELETE": self.delete_version},
            f"{subject}/versions": {"GET": self.versions, "POST": self.register},
            subject: {"POST": self.lookup, "DELETE": self.delete_subject},
            "/schemas": {"GET": self.schemas},
            "/schemas/types": {"GET": self.types},
            "/schemas/ids/{id}": {"GET": self.schema},
            "/schemas/ids/{id}/schema": {"GET": self.schema_text},
            "/schemas/ids/{id}/subjects": {"GET": self.schema_subjects},
            "/schemas/ids/{id}/versions": {"GET": self.schema_versions},
            "/schemas/guids/{guid}": {"GET": self.schema_of_guid},
            "/schemas/guids/{guid}/ids": {"GET": self.ids_of_guid},
            f"/compatibility{subject}/versions/{{version}}": {"POST": self.compatible_with},
            f"/compatibility{subject}/versions": {"POST": self.compatible},
            "/config": {"GET": self.level, "PUT": self.set_level, "DELETE": self.unset_level},
            "/config/{subject:path}": {"GET": self.level, "PUT": self.set_level, "DELETE": self.unset_level},
            "/mode": {"GET": self.mode, "PUT": self.set_mode, "DELETE": self.unset_mode},
            "/mode/{subject:path}": {"GET": self.mode, "PUT": self.set_mode, "DELETE": self.unset_mode},
            "/contexts": {"GET": self.contexts},
            "/v1/metadata/id": {"GET": self.metadata_id},
            "/v1/metadata/version": {"GET": self.metadata_version},
        }

    async def root(self, _asked: Asked) -> Any:
        return {}

    async def types(self, _asked: Asked) -> Any:
        return ["AVRO"]

    async def contexts(self, _asked: Asked) -> Any:
        return ["."]

    async def metadata_id(self, _asked: Asked) -> Any:
        return {"id": "sixfold", "scope": {"path": [], "clusters": {"schema-registry-cluster": "sixfold"}}}

    async def metadata_version(self, _asked: Asked) -> Any:
        return {"version": API_VERSION, "commitId": ""}

    async def subjects(self, asked: Asked) -> Any:
        found = answers.subjects(
            await self.store.read(),
            asked.text("subjectPrefix").removeprefix(":*:"),
            deleted=asked.flag("deleted"),
            deleted_only=asked.flag("deletedOnly", "deleted_only"),
        )
        return answers.page(found, max(0, asked.number("offset", 0)), asked.number("limit", -1))

    async def versions(self, asked: Asked) -> Any:
        found = answers.versions(
            await self.store.read(),
            asked.part("subject"),
            deleted=asked.flag("deleted"),
            deleted_only=asked.flag("deletedOnly", "deleted_only"),
        )
        return answers.page(found, max(0, asked.number("offset", 0)), asked.number("limit", -1))

    async def version(self, asked: Asked) -> Any:
        state, subject = await self.store.read(), asked.part("subject")
        found = core.version_of(state, subject, asked.part("version"), deleted=asked.flag("deleted"))
        return answers.version(state, subject, found)

    async def version_schema(self, asked: Asked) -> Any:
        found = await self.version(asked)
        return Response(found["schema"], media_type=requests.CONTENT_TYPE)

    async def referenced_by(self, asked: Asked) -> Any:
        await self.version(asked)
        return []

    async def register(self, asked: Asked) -> Any:
        sent = core.posted(asked.body)
        return await self.store.write(lambda state, now: core.register(state, asked.part("subject"), sent, now))

    async def lookup(self, asked: Asked) -> Any:
        sent = core.posted(asked.body)
        return answers.lookup(await self.store.read(), asked.part("subject"), sent, deleted=asked.flag("deleted"))

    async def delete_subject(self, asked: Asked) -> Any:
        subject, permanent = asked.part("subject"), asked.flag("permanent")
        return await self.store.write(lambda state, now: core.delete_subject(state, subject, now, permanent=permanent))

    async def delete_version(self, asked: Asked) -> Any:
        subject, version, permanent = asked.part("subject"), asked.part("version"), asked.flag("permanent")
        return await self.store.write(
            lambda state, now: core.delete_version(state, subject, version, now, permanent=permanent)
        )

    async def schemas(self, asked: Asked) -> Any:
        found = answers.every(
            await self.store.read(),
            asked.text("subjectPrefix").removeprefix(":*:"),
            deleted=asked.flag("deleted"),
            latest=asked.flag("latestOnly"),
        )
        return answers.page(found, max(0, asked.number("offset", 0)), asked.number("limit", -1))

    async def schema(self, asked: Asked) -> Any:
        return answers.schema(answers.by_id(await self.store.read(), asked.part("id")))

    async def schema_text(self, asked: Asked) -> Any:
        found = answers.by_id(await self.store.read(), asked.part("id"))
        return Response(found.schema, media_type=requests.CONTENT_TYPE)

    async def schema_subjects(self, asked: Asked) -> Any:
        return list(dict.fromkeys(each["subject"] for each in await self.schema_versions(asked)))

    async def schema_versions(self, asked: Asked) -> Any:
        state = await self.store.read()
        found = answers.by_id(state, asked.part("id"))
        uses = state.uses(found.schema_id, deleted=asked.flag("deleted"))
        return [{"subject": subject, "version": version} for subject, version in uses]

    async def schema_of_guid(self, asked: Asked) -> Any:
        return answers.schema(answers.by_guid(await self.store.read(), asked.part("guid")))

    async def ids_of_guid(self, asked: Asked) -> Any:
        found = answers.by_guid(await self.store.read(), asked.part("guid"))
        return [{"context": ".", "id": found.schema_id}]

    async def compatible_with(self, asked: Asked) -> Any:
        sent, state, subject = core.posted(asked.body), await self.store.read(), asked.part("subject")
        against = [core.version_of(state, subject, asked.part("version"))]
        return answers.compatible(state, subject, sent, against, verbose=asked.flag("verbose"))

    async def compatible(self, asked: Asked) -> Any:
        sent, state = core.posted(asked.body), await self.store.read()
        return answers.compatible(state, asked.part("subject"), sent, None, verbose=asked.flag("verbose"))

    async def level(self, asked: Asked) -> Any:
        return answers.level(await self.store.read(), asked.part("subject"), default=asked.flag("defaultToGlobal"))

    async def set_level(self, asked: Asked) -> Any:
        core.check_settings(asked.body, _NO_OTHER_SETTINGS)
        subject, level = asked.part("subject") or GLOBAL, asked.body.get("compatibility")
        return await self.store.write(lambda state, now: core.set_level(state, subject, level, now))

    async def unset_level(self, asked: Asked) -> Any:
        subject = asked.part("subject") or GLOBAL
        return await self.store.write(lambda state, now: core.unset_level(state, subject, now))

    async def mode(self, asked: Asked) -> Any:
        return answers.mode(await self.store.read(), asked.part("subject"), default=asked.flag("defaultToGlobal"))

    async def set_mode(self, asked: Asked) -> Any:
        subject, mode, force = asked.part("subject") or GLOBAL, asked.body.get("mode"), asked.flag("force")
        return await self.store.write(lambda state, now: core.set_mode(state, subject, mode, now, force=force))

    async def unset_mode(self, asked: Asked) -> Any:
        subject = asked.part("subject") or GLOBAL
        return await self.store.write(lambda state, now: core.unset_mode(state, subject, now))
