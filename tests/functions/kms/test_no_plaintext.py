"""No plaintext key in any topic, log or file: the whole flow runs, then the raw bytes of everything are searched."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import structlog
from tests.functions.kms import system as systems
from tests.support import buses

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import client as kms
from sixfold_functions.kms import keyring, root

CONTEXT = {"topic": "payments"}


def spellings(secret: bytes) -> Iterator[bytes]:
    """A secret as itself, and as it looks in hex and at each of the three phases of base64."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for phase in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(bytes(phase) + secret)
            yield whole[(phase * 8 + 5) // 6 : (phase + len(secret)) * 8 // 6]


def leaks(secrets: Iterable[bytes], places: dict[str, bytes]) -> list[str]:
    """Where a secret shows, by the secret's number and the place's name."""
    return [
        f"secret {number} in {name}"
        for number, secret in enumerate(secrets)
        for name, content in places.items()
        if any(spelling in content for spelling in spellings(secret))
    ]


def files(folder: Path, *, but: set[Path]) -> dict[str, bytes]:
    """Every file below `folder`, SQLite's write-ahead log and logs included."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path not in but}


def test_the_search_finds_what_is_there() -> None:
    """The tool itself: a secret is found as it is, in hex, and inside longer base64 at any phase."""
    secret = bytes(range(32))
    for before in range(5):
        text = base64.b64encode(b"x" * before + secret + b"tail")
        assert leaks([secret], {"place": b"..." + text + b"..."})
    assert leaks([secret], {"place": secret.hex().encode()})
    assert not leaks([secret], {"place": bytes(1000)})


async def test_no_secret_is_in_any_record_file_or_log(place: buses.Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Data keys, root and derived keys, key material, session secrets, tokens: in no byte that was written."""
    secrets: list[bytes] = []
    async with systems.running_system(place) as system:
        await system.issuer()
        await system.role("payments", [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}])
        await system.key()
        async with system.client(await system.assume("payments", team="risk")) as client:
            for size in (16, 32, 64):
                key = await client.generate_data_key("alias/payments", CONTEXT, number_of_bytes=size)
                assert await client.decrypt(key.ciphertext_blob, CONTEXT) == key.plaintext
                secrets.append(key.plaintext)
                with pytest.raises(kms.KmsError):
                    await client.decrypt(key.ciphertext_blob, {"topic": "other"})
                structlog.get_logger().info("a key was issued", key=key)
            structlog.get_logger().info("of a session", client=client, credentials=client._credentials)
        opened = root.open_root(system.data_dir)
        vault = await system.process.resources.get(kms.open_vault)
        ring = keyring.Keyring()
        for event in await system.events(KeyChanged):
            ring.apply(event)
            for version in event.versions:
                secrets.append(keyring.unwrap(vault.domain(), event, version))
        secrets += [opened._key, *(opened.derive(name) for name in ("sts", "session", "domain 1")), *system.secrets]
        records = {
            f"{record.topic}:{record.partition}:{record.offset}": b"\0".join(
                [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
            )
            for topic in await system.bus.topics()
            for record in await system.records(topic)
        }
        while_running = files(place.data_dir, but={root.path_of(place.data_dir)})
    output = capfd.readouterr()
    after = files(place.data_dir, but={root.path_of(place.data_dir)})
    assert len(secrets) > 10
    assert any("kms.results" in name for name in records)
    assert leaks(secrets, records) == []
    assert leaks(secrets, while_running) == []
    assert leaks(secrets, after) == []
    assert leaks(secrets, {"output": (output.out + output.err).encode()}) == []
    assert leaks([opened._key], {"root": root.path_of(place.data_dir).read_bytes()}), "the search works on files, too"
