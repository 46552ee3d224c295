"""Which registry, and how it is used: read from the environment here and nowhere else."""

from __future__ import annotations

import enum
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from sixfold import errors

E = TypeVar("E", bound=enum.Enum)

EMBEDDED = "embedded:"
"""The registry of the gateway that runs on the data folder, with the bootstrap credential."""
PREFIX = "SIXFOLD_REGISTRY_"
VARIABLES = (
    "URL",
    "USER",
    "PASSWORD",
    "PASSWORD_FILE",
    "TOKEN",
    "TOKEN_FILE",
    "CA_FILE",
    "CERTIFICATE_FILE",
    "KEY_FILE",
    "AUTO_REGISTER",
    "SUBJECTS",
    "IDENTIFIER",
)
"""Every variable that is read, after `PREFIX`."""
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Strategy(enum.Enum):
    """Which subject an event type's schema is a version of."""

    TOPIC = "topic"
    """`<topic>-value`: one type a topic. Confluent's default."""
    RECORD = "record"
    """The record's full name, the same for every topic."""
    TOPIC_RECORD = "topic-record"
    """`<topic>-<record's full name>`."""


class Identifier(enum.Enum):
    """How a record names its schema."""

    PREFIX = "prefix"
    """0x00 and the registry's 4-byte id before the body."""
    HEADER = "header"
    """A 16-byte GUID in the header `__value_schema_id`, and the bare body."""


@dataclass(frozen=True, kw_only=True)
class RegistrySettings:
    """One registry."""

    urls: tuple[str, ...] = ()
    """Tried in turn; `embedded:` is the gateway's own. Empty: no registry, ids are fingerprints."""
    user: str = ""
    """For basic auth."""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """A bearer token; it goes before user and password."""
    ca_file: str = ""
    """Certificates to believe in place of the system's."""
    certificate_file: str = ""
    """Ours, for mutual TLS."""
    key_file: str = ""
    """Its key, where it is not in the same file."""
    auto_register: bool = True
    """Whether a process registers what its functions emit, as Confluent's serializers do; else it must be there."""
    subjects: Strategy = Strategy.TOPIC_RECORD
    """Several types share a topic here, which one subject a topic would hold against each other."""
    identifier: Identifier = Identifier.PREFIX
    """What is written; both are read."""
    timeout_s: float = 10.0
    """Of one request: a registry answers in milliseconds, one that elects its leader in seconds."""
    attempts_max: int = 4
    """Per request, over all URLs; as Confluent's clients (three retries)."""
    backoff_s: float = 0.2
    """Before the second attempt; it doubles, and is drawn anew each time."""


def from_environment(environ: Mapping[str, str]) -> RegistrySettings:
    """What `SIXFOLD_REGISTRY_…` says. Raises UsageError for a value that means nothing."""

    unknown = [name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in VARIABLES]
    if unknown:
        known = ", ".join(PREFIX + name for name in VARIABLES)
        raise errors.UsageError(f"{unknown[0]} is no setting; there are: {known}")

    def text(name: str) -> str:
        return environ.get(PREFIX + name, "").strip()

    token = text("TOKEN")
    if text("TOKEN_FILE"):
        if token:
            raise errors.UsageError(f"{PREFIX}TOKEN and {PREFIX}TOKEN_FILE are both set; keep one")
        token = _secret(text("TOKEN_FILE"), f"{PREFIX}TOKEN_FILE")
    password = text("PASSWORD")
    if text("PASSWORD_FILE"):
        password = _secret(text("PASSWORD_FILE"), f"{PREFIX}PASSWORD_FILE")
    made = RegistrySettings(
        user=text("USER"),
        password=password,
        token=token,
        ca_file=text("CA_FILE"),
        certificate_file=text("CERTIFICATE_FILE"),
        key_file=text("KEY_FILE"),
        auto_register=_flag(text("AUTO_REGISTER"), f"{PREFIX}AUTO_REGISTER"),
        subjects=_choice(Strategy, text("SUBJECTS"), Strategy.TOPIC_RECORD, f"{PREFIX}SUBJECTS"),
        identifier=_choice(Identifier, text("IDENTIFIER"), Identifier.PREFIX, f"{PREFIX}IDENTIFIER"),
    )
    return with_url(made, text("URL")) if text("URL") else made


def with_url(settings: RegistrySettings, url: str) -> RegistrySettings:
    """The settings with `url` (several with commas between them); user and password in it count. Raises UsageError."""
    urls, user, password = [], settings.user, settings.password
    for part in filter(None, (each.strip() for each in url.split(","))):
        if part == EMBEDDED:
            urls.append(part)
            continue
        found = urllib.parse.urlsplit(part)
        if found.scheme not in ("http", "https") or not found.hostname:
            raise errors.UsageError(f"schema registry {part!r}: expected http://HOST:PORT, https://… or {EMBEDDED}")
        if found.username:
            user = urllib.parse.unquote(found.username)
            password = urllib.parse.unquote(found.password or "")
        place = found._replace(netloc=found.netloc.rpartition("@")[2], query="", fragment="")
        urls.append(urllib.parse.urlunsplit(place).rstrip("/"))
    if not urls:
        raise errors.UsageError(f"no schema registry is named; give http://HOST:PORT, https://… or {EMBEDDED}")
    return replace(settings, urls=tuple(urls), user=user, password=password)


def _secret(path: str, name: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise errors.UsageError(f"{name}: {path} cannot be read: {error.strerror}") from error


def _flag(text: str, name: str) -> bool:
    if text and text.lower() not in (*_TRUE, *_FALSE):
        raise errors.UsageError(f"{name}: expected true or false, found {text!r}")
    return text.lower() not in _FALSE


def _choice(kind: type[E], text: str, default: E, name: str) -> E:
    if not text:
        return default
    try:
        return kind(text.lower())
    except ValueError:
        known = ", ".join(str(each.value) for each in kind)
        raise errors.UsageError(f"{name}: expected one of {known}, found {text!r}") from None
