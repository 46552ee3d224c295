"""A real Kafka for the tests: the one that the environment names, one in a container, or one started from its jars."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

LOCAL = Path(__file__).parent.parent / "kafka" / "local"
IMAGE_DEFAULT = "apache/kafka:4.3.1"
START_TIMEOUT_S = 300
"""Generous: the first start fetches the jars, or pulls the image."""


class NoBrokerError(Exception):
    """No Kafka can be had here; the message says what was tried."""


class NoEngineError(Exception):
    """No container engine can be had here; the message says what was tried."""


def image() -> str:
    """The Kafka image of the tests."""
    return os.environ.get("SIXFOLD_KAFKA_IMAGE") or IMAGE_DEFAULT


@contextlib.contextmanager
def found() -> Iterator[str]:
    """Bootstrap servers of the first broker that can be had. Raises NoBrokerError.

    Tests that run in several processes share the one in SIXFOLD_TEST_KAFKA, or have one each, where it names several
    with spaces between; where it names none each process starts its own.
    """
    named = os.environ.get("SIXFOLD_TEST_KAFKA", "").split()
    if named:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        yield named[int(worker) % len(named)]
        return
    try:
        engine()
    except NoEngineError as error:
        reason = str(error)
    else:
        with contained() as bootstrap:
            yield bootstrap
        return
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise NoBrokerError(
            f"SIXFOLD_TEST_KAFKA is not set; {reason}; and to start Kafka from its jars {' and '.join(missing)} is missing"
        )
    with local() as bootstrap:
        yield bootstrap


def engine() -> None:
    """Return when a container engine answers and has the image, or can pull it. Raises NoEngineError."""
    if not os.environ.get("DOCKER_HOST"):
        sockets = [
            Path("/var/run/docker.sock"),
            Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere") / "podman" / "podman.sock",
            Path("/run/podman/podman.sock"),
        ]
        present = next((path for path in sockets if path.is_socket()), None)
        if present is None:
            raise NoEngineError("no container engine: DOCKER_HOST is not set and no docker or podman socket is there")
        os.environ["DOCKER_HOST"] = f"unix://{present}"
    _reach(os.environ["DOCKER_HOST"])
    import docker  # type: ignore[import-untyped]
    import docker.errors  # type: ignore[import-untyped]

    client: Any = None
    try:
        client = docker.from_env(timeout=60)
        client.ping()
        try:
            client.images.get(image())
        except docker.errors.ImageNotFound:
            client.images.pull(image())
    except (docker.errors.DockerException, OSError) as error:
        raise NoEngineError(f"no container engine with {image()}: {error}") from error
    finally:
        if client is not None:
            client.close()


def _reach(address: str) -> None:
    """Return when something listens there: the docker package leaves a socket open where nothing does."""
    where = urllib.parse.urlsplit(address)
    try:
        if where.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(where.path)
        elif where.scheme == "tcp":
            socket.create_connection((where.hostname or "", where.port or 2375), timeout=5).close()
    except OSError as error:
        raise NoEngineError(f"no container engine answers at {address}: {error}") from error


@contextlib.contextmanager
def contained() -> Iterator[str]:
    """One broker in a container, through testcontainers."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = free_port()
    # The port is advertised to clients, so it must be known before the broker starts. The broker reaches itself, its
    # transaction coordinator above all, by a listener of its own: the mapped port is not its own inside the container.
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENERS": "CLIENT://:9092,INSIDE://:9094,CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"CLIENT://127.0.0.1:{port},INSIDE://localhost:9094",
        "INTER_BROKER_LISTENER_NAME": "INSIDE",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "LOG_INITIAL_TASK_DELAY_MS": "100",
        "LOG_RETENTION_CHECK_INTERVAL_MS": "200",
        "LOG_CLEANER_BACKOFF_MS": "200",
        "LOG_CLEANER_DEDUPE_BUFFER_SIZE": "33554432",
    }
    container = DockerContainer(image()).with_bind_ports(9092, port)
    for name, value in settings.items():
        container = container.with_env(f"KAFKA_{name}", value)
    container = container.waiting_for(
        LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_TIMEOUT_S)
    )
    with container:
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def local(brokers: int = 1) -> Iterator[str]:
    """Brokers started from Kafka's jars in a folder of their own. Raises NoBrokerError."""
    with local_folder(brokers) as (bootstrap, _):
        yield bootstrap


@contextlib.contextmanager
def local_folder(brokers: int = 1) -> Iterator[tuple[str, Path]]:
    """As `local`, with the folder, so that a test may kill and start brokers."""
    folder = Path(tempfile.mkdtemp(prefix="sixfold-kafka-"))
    try:
        yield start_local(folder, brokers), folder
    finally:
        throw_away(folder)


def throw_away(folder: Path) -> None:
    """End the brokers of `folder` at once, which need no orderly end since their data goes with them."""
    subprocess.run([LOCAL, "kill", folder], check=False, capture_output=True, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


def start_local(folder: Path, brokers: int = 1) -> str:
    """Start the brokers of `folder` that do not run; their bootstrap servers. They stop when this process is gone."""
    command = [str(LOCAL), "start", str(folder), "--brokers", str(brokers), "--parent", str(os.getpid())]
    environment = {**os.environ, "KAFKA_QUICK": "1"}
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=START_TIMEOUT_S
    )
    if done.returncode != 0:
        raise NoBrokerError(f"{LOCAL.name} start failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.split()[-1]


def kill_local(folder: Path, node: int = 1) -> None:
    """Kill -9 one broker."""
    subprocess.run([LOCAL, "kill", folder, str(node)], check=True, capture_output=True, timeout=60)


def stop_local(folder: Path, node: int) -> None:
    """Stop one broker in an orderly way: others lead its partitions before it goes."""
    subprocess.run([LOCAL, "stop", folder, str(node)], check=True, capture_output=True, timeout=60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def configure(url: str, topic: str, entries: Mapping[str, str]) -> None:
    """Set a topic's settings, as an operator would; those that are not named go back to the cluster's."""
    admin = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(entries))])
    finally:
        await admin.close()
