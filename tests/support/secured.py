"""A real broker that lets nobody in without a name, and nobody do what an ACL does not allow; with a port for each way in."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import authorities, brokers

ADMIN = "admin"
PASSWORD = "admin-secret"
"""The administrator's, by PLAIN."""
USER = "acl-answer"
"""Who else there is, by SCRAM: the principal of a function of this name."""
USER_PASSWORD = "functions-secret"
ROOT = "root-of-tests"
"""May do all, however it comes: by SCRAM, with a token, or with a certificate of this name."""
ROOT_PASSWORD = "roots-secret"
_LISTENERS = {
    "SASL": "SASL_PLAINTEXT",
    "TLS": "SASL_SSL",
    "MUTUAL": "SSL",
    "OPEN": "PLAINTEXT",
    "CONTROLLER": "SASL_PLAINTEXT",
}
_JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="{ADMIN}" password="{PASSWORD}" user_{ADMIN}="{PASSWORD}";'
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Takes tokens that nobody signed, which Kafka has for tests.
_TOKENS = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    f'unsecuredLoginStringClaim_sub="{ADMIN}";'
)


class Secured(NamedTuple):
    """A broker with an authorizer."""

    folder: Path
    ports: dict[str, int]
    authority: authorities.Authority

    def at(self, listener: str) -> str:
        """Bootstrap servers: SASL or TLS (both with a name), MUTUAL (TLS on both sides), OPEN (nobody may do anything)."""
        return f"127.0.0.1:{self.ports[listener]}"

    @property
    def config(self) -> Path:
        """For Kafka's own tools."""
        return self.folder / "admin.properties"

    @property
    def admin(self) -> dict[str, Any]:
        """What makes an aiokafka client the administrator's."""
        return {
            "bootstrap_servers": self.at("SASL"),
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": ADMIN,
            "sasl_plain_password": PASSWORD,
        }

    def run(self, command: str) -> None:
        """Run a command line of kafka-acls.sh with Kafka's own tool."""
        words = shlex.split(command)
        assert words[0] == "kafka-acls.sh"
        tool = [str(brokers.LOCAL), "tool", "org.apache.kafka.tools.AclCommand", *words[1:]]
        done = subprocess.run(tool, check=False, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Adding ACLs" in done.stdout, done.stdout + done.stderr


@contextlib.contextmanager
def secured() -> Iterator[Secured]:
    """A broker of its own. Raises brokers.NoBrokerError."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise brokers.NoBrokerError(f"to start Kafka from its jars {' and '.join(missing)} is missing")
    folder = Path(tempfile.mkdtemp(prefix="sixfold-kafka-secured-"))
    try:
        authority = authorities.Authority(folder / "certificates")
        made = Secured(folder, {name: brokers.free_port() for name in _LISTENERS}, authority)
        _configure(made)
        brokers.start_local(folder)
        made.config.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={_JAAS}\n")
        yield made
    finally:
        brokers.throw_away(folder)


def _configure(made: Secured) -> None:
    """What `local start` finds and takes for a broker that it configured before."""
    node = made.folder / "broker-1"
    node.mkdir()
    certificate, key = made.authority.sign("broker", "127.0.0.1")
    store = made.folder / "certificates" / "broker.store.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    places = {name: f"{name}://127.0.0.1:{port}" for name, port in made.ports.items()}
    advertised = ",".join(place for name, place in places.items() if name != "CONTROLLER")
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "broker.rack": "a",
        "controller.quorum.voters": f"1@{places['CONTROLLER'].partition('://')[2]}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(places.values()),
        "advertised.listeners": advertised,
        "inter.broker.listener.name": "SASL",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in _LISTENERS.items()),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.tls.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.tls.oauthbearer.sasl.jaas.config": _TOKENS,
        "listener.name.controller.plain.sasl.jaas.config": _JAAS,
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": r"RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(made.authority.certificate),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:{ROOT}",
        "log.dirs": str(node / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    for listener in ("sasl", "tls"):
        settings[f"listener.name.{listener}.plain.sasl.jaas.config"] = _JAAS
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            settings[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = _SCRAM
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    (node / "server.properties").write_text(text.replace("\\", "\\\\"))
    words = [
        word
        for name, password in ((USER, USER_PASSWORD), (ROOT, ROOT_PASSWORD))
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for word in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]
    (node / "format").write_text("\n".join(words) + "\n")
    (made.folder / "brokers").write_text("1\n")
    (made.folder / "bootstrap").write_text(f"{made.at('SASL')}\n")
