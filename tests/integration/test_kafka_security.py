"""Secured clusters: every way in works for all that the bus does, and every way that is barred says why."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import logging
import os
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support import authorities, brokers, naming, secured, waiting
from tests.support.records import contents, make, numbered
from tests.support.tree import Tree

from sixfold import system
from sixfold.bus import open_bus, port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]
SECRETS = (secured.ROOT_PASSWORD, "not-the-password", "clients-secret")
PREFIX = "SIXFOLD_KAFKA_"


@pytest.fixture(scope="module")
def broker() -> Iterator[secured.Secured]:
    """A broker with a port for each way in."""
    try:
        with secured.secured() as found:
            yield found
    except brokers.NoBrokerError as error:
        missing(f"no secured Kafka: {error}")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has set is not this test's."""
    for name in [each for each in os.environ if each.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def token(subject: str = secured.ROOT, life_s: int = 3600) -> str:
    """A token that nobody signed; the test's broker takes those."""
    now = int(time.time())  # noqa: TID251 - the broker compares it with its own clock
    parts = ({"alg": "none"}, {"sub": subject, "iat": now - 5, "exp": now + life_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


class Provider(BaseHTTPRequestHandler):
    """An OpenID provider's token endpoint."""

    asked: list[tuple[str, dict[str, list[str]]]]

    def do_POST(self) -> None:
        """Grant a token to the one client that there is."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.headers["Authorization"], urllib.parse.parse_qs(body)))
        known = self.headers["Authorization"] == "Basic " + base64.b64encode(b"sixfold:clients-secret").decode()
        said = {"access_token": token(), "expires_in": 3600} if known else {"error": "invalid_client"}
        content = json.dumps(said).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Not at the test's terminal."""


@dataclasses.dataclass
class Endpoint:
    """A provider that runs, and what it was asked."""

    url: str
    asked: list[tuple[str, dict[str, list[str]]]]


@pytest.fixture
def provider() -> Iterator[Endpoint]:
    """A token endpoint on loopback."""
    handler = type("Handler", (Provider,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Endpoint(f"http://127.0.0.1:{server.server_port}/token", handler.asked)  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


async def round_trip(bootstrap: str, folder: Path) -> None:
    """All that opens a client: topics, publishing, offsets, a group, a transaction, a table that is read back, lag."""
    names = naming.Names()
    async with open_bus(f"kafka://{bootstrap}", data_dir=folder) as bus:
        topic, output = await make(bus, names("t")), await make(bus, names("out"))
        await numbered(bus, topic, 0, 20)
        assert (await bus.offsets(port.TopicPartition(topic, 0))).end == 20
        async with bus.subscribe(names("g"), [topic]) as consumer:
            found = await waiting.collect(consumer, 20)
            await consumer.settle(
                records=[port.NewRecord(output, record.value) for record in found],
                state={("seen", 0): {b"records": b"20"}},
                offsets={port.TopicPartition(topic, 0): 20},
                atomic=True,
            )
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 1)
            assert await consumer.state_get("seen", 0, b"records") == b"20"
        assert await contents(bus, output) == [record.value for record in found]
        assert await bus.lag(names("g"), [topic]) == {port.TopicPartition(topic, 0): 0}


def setting(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, object]) -> None:
    """Set variables of the bus."""
    for name, value in settings.items():
        monkeypatch.setenv(PREFIX + name, str(value))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_a_password_lets_every_client_in_over_tls(
    broker: secured.Secured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mechanism: str,
) -> None:
    """By variables; TLS is taken for granted, and no log has the password, not even aiokafka's at debug."""
    caplog.set_level(logging.DEBUG, "aiokafka")
    user, password = (
        (secured.ADMIN, secured.PASSWORD) if mechanism == "PLAIN" else (secured.ROOT, secured.ROOT_PASSWORD)
    )
    setting(monkeypatch, {"MECHANISM": mechanism, "USER": user, "PASSWORD": password})
    setting(monkeypatch, {"CA_FILE": broker.authority.certificate})
    await round_trip(broker.at("TLS"), tmp_path)
    assert "MetadataRequest" in caplog.text
    assert password not in caplog.text


async def test_a_password_without_tls_is_sent_where_that_is_asked_for(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS=false; SCRAM-SHA-512 is what a user without a mechanism means."""
    setting(monkeypatch, {"TLS": "false", "USER": secured.ROOT, "PASSWORD": secured.ROOT_PASSWORD})
    await round_trip(broker.at("SASL"), tmp_path)


async def test_a_certificate_of_ours_lets_every_client_in(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutual TLS, with a key that has a password."""
    certificate, key = broker.authority.sign(secured.ROOT, password="keys-password")
    settings = {"CA_FILE": broker.authority.certificate, "CERTIFICATE_FILE": certificate, "KEY_FILE": key}
    setting(monkeypatch, {**settings, "KEY_PASSWORD": "keys-password"})
    await round_trip(broker.at("MUTUAL"), tmp_path)


async def test_the_file_in_the_data_folder_says_the_same(broker: secured.Secured, tmp_path: Path) -> None:
    """`kafka.toml`, for its owner alone."""
    path = tmp_path / "kafka.toml"
    path.write_text(
        f'ca_file = "{broker.authority.certificate}"\nuser = "{secured.ROOT}"\npassword = "{secured.ROOT_PASSWORD}"\n'
    )
    path.chmod(0o600)
    await round_trip(broker.at("TLS"), tmp_path)


@pytest.mark.parametrize("source", ["TOKEN_COMMAND", "TOKEN_FILE", "TOKEN_URL"])
async def test_a_token_lets_every_client_in(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Endpoint, source: str
) -> None:
    """OAUTHBEARER: of a command, a file, or a provider, which one process asks once for all its connections."""
    path = tmp_path / "token"
    path.write_text(token() + "\n")
    value = {"TOKEN_COMMAND": f"cat '{path}'", "TOKEN_FILE": str(path), "TOKEN_URL": provider.url}[source]
    setting(monkeypatch, {source: value, "CA_FILE": broker.authority.certificate})
    if source == "TOKEN_URL":
        setting(monkeypatch, {"CLIENT_ID": "sixfold", "CLIENT_SECRET": "clients-secret", "SCOPE": "kafka"})
    await round_trip(broker.at("TLS"), tmp_path)
    if source == "TOKEN_URL":
        assert [form for _, form in provider.asked] == [{"grant_type": ["client_credentials"], "scope": ["kafka"]}]


async def refused(bootstrap: str, folder: Path) -> str:
    """Why the bus does not open; no message has a secret in it."""
    with pytest.raises((port.BusRefusedError, port.BusUnavailableError)) as found:
        async with asyncio.timeout(20), open_bus(f"kafka://{bootstrap}", data_dir=folder):
            pass
    assert bootstrap in str(found.value)
    assert not any(secret in str(found.value) for secret in SECRETS)
    await waiting.eventually(lambda: _connections() == 0, "TLS has said goodbye on every connection")
    return str(found.value)


def _connections() -> int:
    """Of this loop: one descriptor is its own, by which threads wake it."""
    return len(asyncio.get_running_loop()._selector.get_map()) - 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_a_wrong_password_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    """With the user and the variables to look at, not as a broker that does not answer."""
    setting(monkeypatch, {"MECHANISM": mechanism, "USER": secured.ROOT, "PASSWORD": "not-the-password"})
    setting(monkeypatch, {"CA_FILE": broker.authority.certificate})
    said = await refused(broker.at("TLS"), tmp_path)
    assert f"refuses user {secured.ROOT!r} ({mechanism})" in said
    assert "SIXFOLD_KAFKA_PASSWORD" in said


async def test_a_certificate_that_nobody_vouches_for_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority that has not signed it, or the system's: name the right one."""
    other = authorities.Authority(tmp_path / "other", "another authority")
    for settings in ({"CA_FILE": other.certificate}, {"CA_FILE": ""}):
        setting(monkeypatch, {"USER": secured.ROOT, "PASSWORD": secured.ROOT_PASSWORD, **settings})
        said = await refused(broker.at("TLS"), tmp_path)
        assert "is not trusted" in said
        assert "SIXFOLD_KAFKA_CA_FILE" in said


async def test_a_name_that_the_certificate_is_not_for_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for 127.0.0.1, and asked for by another name of the same host."""
    setting(monkeypatch, {"TLS": "true", "CA_FILE": broker.authority.certificate})
    said = await refused(broker.at("TLS").replace("127.0.0.1", "localhost"), tmp_path)
    assert "is not trusted" in said
    assert "localhost" in said


async def test_tls_to_a_port_without_it_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could also be a broker that is starting; both are named."""
    setting(monkeypatch, {"TLS": "true", "CA_FILE": broker.authority.certificate})
    said = await refused(broker.at("OPEN"), tmp_path)
    assert "does not speak TLS on this port" in said


async def test_no_tls_to_a_port_with_it_is_said(broker: secured.Secured, tmp_path: Path) -> None:
    """Whoever has set nothing learns what to set."""
    said = await refused(broker.at("TLS"), tmp_path)
    assert "without TLS" in said
    assert "SIXFOLD_KAFKA_CA_FILE" in said


async def test_no_name_where_one_is_asked_for_is_said(broker: secured.Secured, tmp_path: Path) -> None:
    """A SASL port ends such a connection without a word."""
    assert "SIXFOLD_KAFKA_USER" in await refused(broker.at("SASL"), tmp_path)


async def test_a_name_where_none_is_asked_for_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open port takes no mechanism."""
    setting(monkeypatch, {"TLS": "false", "USER": secured.ROOT, "PASSWORD": secured.ROOT_PASSWORD})
    assert "does not take SCRAM-SHA-512 on this port" in await refused(broker.at("OPEN"), tmp_path)


async def test_a_missing_certificate_of_ours_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None at all, and one of an authority that the broker does not know."""
    setting(monkeypatch, {"TLS": "true", "CA_FILE": broker.authority.certificate})
    said = await refused(broker.at("MUTUAL"), tmp_path)
    assert "wants a client's certificate and asks for one" in said
    certificate, key = authorities.Authority(tmp_path / "other", "another authority").sign("stranger")
    setting(monkeypatch, {"CERTIFICATE_FILE": certificate, "KEY_FILE": key})
    assert f"does not take the certificate of {certificate}" in await refused(broker.at("MUTUAL"), tmp_path)


async def test_a_token_that_is_refused_or_cannot_be_had_is_said(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Endpoint
) -> None:
    """An expired one; a command that fails; an endpoint that does not know us, or is not there."""
    setting(monkeypatch, {"CA_FILE": broker.authority.certificate})
    path = tmp_path / "token"
    path.write_text(token(life_s=-1))
    monkeypatch.setenv(f"{PREFIX}TOKEN_FILE", str(path))
    assert "refuses the token (OAUTHBEARER)" in await refused(broker.at("TLS"), tmp_path)
    monkeypatch.delenv(f"{PREFIX}TOKEN_FILE")
    for command, why in (
        (f"{sys.executable} -c 'exit(7)' clients-secret", "failed with exit code 7"),
        ("/nowhere/at-all clients-secret", "cannot be run"),
        ("echo two words", "expected one line"),
    ):
        monkeypatch.setenv(f"{PREFIX}TOKEN_COMMAND", command)
        assert why in await refused(broker.at("TLS"), tmp_path)
    monkeypatch.delenv(f"{PREFIX}TOKEN_COMMAND")
    setting(monkeypatch, {"TOKEN_URL": provider.url, "CLIENT_ID": "sixfold", "CLIENT_SECRET": "not-the-password"})
    said = await refused(broker.at("TLS"), tmp_path)
    assert "gave no token to client 'sixfold' (HTTP 401: invalid_client)" in said
    monkeypatch.setenv(f"{PREFIX}TOKEN_URL", f"http://127.0.0.1:{brokers.free_port()}/token")
    assert "does not answer" in await refused(broker.at("TLS"), tmp_path)


def logs(folder: Path) -> list[Path]:
    """Logs of all processes."""
    found = list(folder.rglob("*.log"))
    assert found
    return found


def showing(paths: list[Path]) -> list[Path]:
    """Those that have a secret in them."""
    return [path for path in paths if any(secret in path.read_text(errors="replace") for secret in SECRETS)]


async def test_the_processes_of_up_inherit_the_way_in(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sixfold up` on a secured cluster: every child gets in by the variables, and none has a secret on its command line."""
    setting(monkeypatch, {"USER": secured.ROOT, "PASSWORD": secured.ROOT_PASSWORD})
    setting(monkeypatch, {"CA_FILE": broker.authority.certificate})
    tree = Tree(tmp_path, bus_url=f"kafka://{broker.at('TLS')}")
    await tree.start()
    try:
        recorded = system.read(tmp_path)
        assert recorded is not None
        assert len(recorded.processes) > 6
        command_lines = [Path(f"/proc/{pid}/cmdline") for pid in (tree.pid, *recorded.processes.values())]
        assert showing(command_lines) == []
    finally:
        assert await tree.stop() == 0
    assert showing(logs(tmp_path)) == []


async def test_the_command_line_says_why_and_shows_no_secret(broker: secured.Secured, tmp_path: Path) -> None:
    """Exit code 1 and one line."""
    environment = {
        **os.environ,
        f"{PREFIX}CA_FILE": str(broker.authority.certificate),
        f"{PREFIX}USER": secured.ROOT,
        f"{PREFIX}PASSWORD": "not-the-password",
    }
    words = ["--data-dir", str(tmp_path), "--bus", f"kafka://{broker.at('TLS')}", "topics", "ls"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sixfold",
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 1, output.decode()
    assert f"refuses user {secured.ROOT!r}" in output.decode()
    assert "not-the-password" not in output.decode()
    assert "Traceback" not in output.decode()
