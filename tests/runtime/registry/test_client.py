"""The registry client: what it shows, what it does when a registry fails, and that every error says what to do."""

from __future__ import annotations

import base64
import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.functions.registry import serving
from tests.runtime.registry.answering import Answer, answering
from tests.runtime.registry.certificates import authority
from tests.support import brokers, buses

from sixfold import errors, system
from sixfold.registry import failures
from sixfold.registry import settings as settings_
from sixfold.registry.client import RegistryClient
from sixfold.registry.settings import Identifier, RegistrySettings, Strategy
from sixfold.registry.subjects import subject_of
from sixfold_events import avro, canonical

SCHEMA = {"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "string"}]}
WIDER = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "note", "type": "string", "default": ""}]}
NEEDED = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "price", "type": "long"}]}
FOUND = Answer(200, {"schema": canonical.text(SCHEMA)})
AWAY = Answer(503, {"error_code": 50301, "message": "no leader"})


def quick(*urls: str, **changes: Any) -> RegistrySettings:
    """Settings whose retries take no time."""
    return dataclasses.replace(RegistrySettings(urls=urls, backoff_s=0.0, timeout_s=5.0), **changes)


async def test_everything_that_a_registry_offers_is_there(tmp_path: Path) -> None:
    """Against the gateway's own registry: register, look up, check, configure, list, delete."""
    async with (
        serving.served(buses.Place("embedded:", tmp_path)) as served,
        RegistryClient(quick(served.url, user="me", password=served.token)) as client,
    ):
        first = await client.register("order/value", SCHEMA)
        assert first == (avro.fingerprint(SCHEMA), 1, canonical.guid(canonical.text(SCHEMA)))
        assert await client.lookup("order/value", SCHEMA) == first
        assert first.guid is not None
        assert await client.schema(first.id) == await client.schema(first.guid) == SCHEMA
        assert await client.problems("order/value", WIDER) == []
        assert await client.problems("not there", WIDER) == []
        assert "price has no default" in (await client.problems("order/value", NEEDED))[0]
        with pytest.raises(failures.IncompatibleError, match="price has no default"):
            await client.register("order/value", NEEDED)
        await client.set_compatibility("NONE", "order/value")
        assert await client.compatibility("order/value") == "NONE"
        assert await client.compatibility() == await client.compatibility("other") == "BACKWARD"
        assert (await client.register("order/value", NEEDED)).version == 2
        assert await client.subjects() == await client.subjects("order/") == ["order/value"]
        assert await client.versions("order/value") == [1, 2]
        assert await client.version("order/value", 1) == ("order/value", 1, first.id, SCHEMA)
        assert (await client.version("order/value")).schema == NEEDED
        await client.delete_version("order/value", 1)
        assert await client.delete_subject("order/value") == [2]
        assert await client.delete_subject("order/value", permanent=True) == [1, 2]


async def test_the_gateways_own_registry_is_found_by_itself(tmp_path: Path) -> None:
    """`embedded:` is whatever gateway runs on the data folder, with its bootstrap credential."""
    async with RegistryClient(quick("embedded:"), data_dir=tmp_path) as client:
        with pytest.raises(failures.RegistryUnavailableError, match="sixfold up"):
            await client.subjects()
        async with serving.served(buses.Place("embedded:", tmp_path)) as served:
            url = served.url.removesuffix("/registry")
            system.write(tmp_path, system.System(pid=1, bus_url="embedded:", gateway_url=url))
            assert await client.subjects() == []


async def test_a_schema_is_asked_for_once() -> None:
    """By id and by GUID; what was found stays."""
    async with answering(FOUND) as app, RegistryClient(quick(app.url + "/registry/")) as client:
        guid = uuid.uuid4()
        for identifier in (7, guid, 7, guid):
            assert await client.schema(identifier) == SCHEMA
        paths = [request.url.path for request in app.requests]
        assert paths == ["/registry/schemas/ids/7", f"/registry/schemas/guids/{guid}"]


async def test_the_credential_is_shown_as_configured() -> None:
    """Basic auth, or a bearer token, which goes before it."""
    async with answering(FOUND) as app:
        async with RegistryClient(quick(app.url, user="me", password="päss:word")) as client:
            await client.subjects()
        async with RegistryClient(quick(app.url, user="me", password="x", token="t0ken")) as client:
            await client.subjects()
        basic, bearer = (request.headers["authorization"] for request in app.requests)
        assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "me:päss:word"
        assert bearer == "Bearer t0ken"


async def test_tls_believes_the_named_authority_alone_and_shows_our_certificate(tmp_path: Path) -> None:
    """A CA file, and a client certificate where the registry asks for one."""
    pairs = authority(tmp_path)
    ca = pairs["authority"].certificate
    server = {"certificate": pairs["server"].certificate, "key": pairs["server"].key}
    async with answering(FOUND, **server) as app:
        async with RegistryClient(quick(app.url, ca_file=ca)) as client:
            assert await client.schema(7) == SCHEMA
        async with RegistryClient(quick(app.url)) as client:
            with pytest.raises(failures.RegistryUnavailableError, match="certificate"):
                await client.schema(7)
    async with answering(FOUND, client_ca=ca, **server) as app:
        ours = {"certificate_file": pairs["client"].certificate, "key_file": pairs["client"].key}
        async with RegistryClient(quick(app.url, ca_file=ca, **ours)) as client:
            assert await client.schema(7) == SCHEMA
        async with RegistryClient(quick(app.url, ca_file=ca)) as client:
            with pytest.raises(failures.RegistryUnavailableError):
                await client.schema(7)
    async with RegistryClient(quick("https://127.0.0.1:1", ca_file=str(tmp_path / "no.pem"))) as client:
        with pytest.raises(errors.UsageError, match="certificates"):
            await client.schema(7)


async def test_a_registry_that_is_busy_is_asked_again() -> None:
    """As often as the settings allow; what it said last is in the error."""
    async with answering(AWAY, AWAY, FOUND) as app, RegistryClient(quick(app.url)) as client:
        assert await client.schema(7) == SCHEMA
        assert len(app.requests) == 3
    async with answering(AWAY) as app, RegistryClient(quick(app.url, attempts_max=3)) as client:
        with pytest.raises(failures.RegistryUnavailableError, match="503: no leader"):
            await client.schema(7)
        assert len(app.requests) == 3


async def test_another_registry_answers_for_one_that_is_gone() -> None:
    """And is asked first from then on."""
    gone = f"http://127.0.0.1:{brokers.free_port()}"
    async with answering(FOUND) as app, RegistryClient(quick(gone, app.url, attempts_max=2)) as client:
        assert await client.schema(7) == await client.schema(8) == SCHEMA
        assert len(app.requests) == 2
    async with RegistryClient(quick(gone, attempts_max=1)) as client:
        with pytest.raises(failures.RegistryUnavailableError, match=f"registry at {gone}"):
            await client.schema(7)


Call = Callable[[RegistryClient], Awaitable[Any]]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(404, {"error_code": 40403, "message": "Schema 7 not found"}), failures.NotRegisteredError, "Schema 7"),
        (Answer(404, {"error_code": 404, "message": "HTTP 404"}), failures.RegistryError, "refuses GET /schemas/ids/7"),
        (Answer(401, b"who are you"), failures.RegistryError, "SIXFOLD_REGISTRY_USER"),
        (Answer(403, {"error_code": 40301, "message": "not yours"}), failures.RegistryError, "not yours"),
        (Answer(422, {"error_code": 42201, "message": "bad"}), failures.RegistryError, "42201: bad"),
        (Answer(409, {"error_code": 409, "message": "breaks"}), failures.IncompatibleError, "breaks"),
        (Answer(200, b"<html>"), failures.RegistryError, "check its URL"),
        (Answer(200, {"schema": "{}", "schemaType": "JSON"}), failures.RegistryError, "type JSON"),
        (Answer(200, {"schema": '"x"', "references": [{"name": "x"}]}), failures.RegistryError, "references"),
        (Answer(200, {"schema": "{"}), failures.RegistryError, "cannot be used"),
    ],
)
async def test_a_refusal_is_an_error_that_says_what_to_do(answer: Answer, kind: type[Exception], said: str) -> None:
    """Once: asking again would not help. Status and code are in it."""
    async with answering(answer) as app, RegistryClient(quick(app.url)) as client:
        with pytest.raises(kind, match=said) as caught:
            await client.schema(7)
        assert len(app.requests) == 1
        if answer.status != 200:
            assert isinstance(caught.value, failures.RegistryError)
            assert caught.value.status == answer.status


def test_the_environment_says_which_registry(tmp_path: Path) -> None:
    """Every setting has a variable; credentials may be in the URL or in files, and are never shown."""
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    found = settings_.from_environment(
        {
            "SIXFOLD_REGISTRY_URL": "https://a:8081/, https://me:p%40ss@b/path/?x=1",
            "SIXFOLD_REGISTRY_CA_FILE": "ca.pem",
            "SIXFOLD_REGISTRY_CERTIFICATE_FILE": "me.pem",
            "SIXFOLD_REGISTRY_KEY_FILE": "me.key",
            "SIXFOLD_REGISTRY_AUTO_REGISTER": "False",
            "SIXFOLD_REGISTRY_SUBJECTS": "topic",
            "SIXFOLD_REGISTRY_IDENTIFIER": "header",
        }
    )
    assert found == RegistrySettings(
        urls=("https://a:8081", "https://b/path"),
        user="me",
        password="p@ss",
        ca_file="ca.pem",
        certificate_file="me.pem",
        key_file="me.key",
        auto_register=False,
        subjects=Strategy.TOPIC,
        identifier=Identifier.HEADER,
    )
    files = {"SIXFOLD_REGISTRY_USER": "me", "SIXFOLD_REGISTRY_PASSWORD_FILE": str(secret)}
    assert settings_.from_environment(files).password == "hunter2"
    assert settings_.from_environment({"SIXFOLD_REGISTRY_TOKEN_FILE": str(secret)}).token == "hunter2"
    assert settings_.from_environment({}) == RegistrySettings()
    assert "hunter2" not in repr(settings_.from_environment(files))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"URL": "ftp://a"}, "expected http://HOST:PORT"),
        ({"URL": "http://"}, "expected http://HOST:PORT"),
        ({"URL": " , "}, "no schema registry is named"),
        ({"AUTO_REGISTER": "maybe"}, "expected true or false"),
        ({"SUBJECTS": "type"}, "topic, record, topic-record"),
        ({"ULR": "http://a"}, "SIXFOLD_REGISTRY_ULR is no setting"),
        ({"IDENTIFIER": "guid"}, "prefix, header"),
        ({"TOKEN_FILE": "/no/such"}, "cannot be read"),
        ({"TOKEN_FILE": "/no/such", "TOKEN": "x"}, "both set"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(environ: dict[str, str], said: str) -> None:
    """With its name and what was expected."""
    with pytest.raises(errors.UsageError, match=said):
        settings_.from_environment({f"SIXFOLD_REGISTRY_{name}": value for name, value in environ.items()})


def test_a_client_without_a_registry_says_so() -> None:
    """Not a connection error later."""
    with pytest.raises(errors.UsageError, match="SIXFOLD_REGISTRY_URL"):
        RegistryClient(RegistrySettings())


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [
        (Strategy.TOPIC, "orders-value"),
        (Strategy.RECORD, "shop.Order"),
        (Strategy.TOPIC_RECORD, "orders-shop.Order"),
    ],
)
def test_a_strategy_names_the_subject(strategy: Strategy, subject: str) -> None:
    """As Confluent's strategies of these names do."""
    assert subject_of(strategy, "orders", SCHEMA) == subject
