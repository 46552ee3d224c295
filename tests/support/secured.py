"""A real broker that lets nobody do what an ACL does not allow: the administrator by SASL, others without a name."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import brokers

ADMIN = "admin"
PASSWORD = "admin-secret"
NOBODY = "User:ANONYMOUS"
"""Whoever comes without credentials: the principal that a test gives its ACLs to."""
_JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="{ADMIN}" password="{PASSWORD}" user_{ADMIN}="{PASSWORD}";'
)


class Secured(NamedTuple):
    """A broker with an authorizer."""

    bootstrap: str
    """Where those come who have no credentials."""
    admin_bootstrap: str
    """Where the administrator comes."""
    config: Path
    """For Kafka's own tools."""

    @property
    def admin(self) -> dict[str, Any]:
        """What makes an aiokafka client the administrator's."""
        return {
            "bootstrap_servers": self.admin_bootstrap,
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
        ports = [brokers.free_port() for _ in range(3)]
        _configure(folder, *ports)
        brokers.start_local(folder)
        config = folder / "admin.properties"
        config.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={_JAAS}\n")
        yield Secured(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", config)
    finally:
        subprocess.run([brokers.LOCAL, "stop", folder], check=False, capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, nobody: int, admin: int, controller: int) -> None:
    """What `local start` finds and takes for a broker that it configured before."""
    node = folder / "broker-1"
    node.mkdir()
    listeners = f"NOBODY://127.0.0.1:{nobody},ADMIN://127.0.0.1:{admin}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "inter.broker.listener.name": "ADMIN",
        "listener.security.protocol.map": "NOBODY:PLAINTEXT,ADMIN:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.admin.plain.sasl.jaas.config": _JAAS,
        "listener.name.controller.plain.sasl.jaas.config": _JAAS,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
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
    (node / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "brokers").write_text("1\n")
    (folder / "bootstrap").write_text(f"127.0.0.1:{nobody}\n")
