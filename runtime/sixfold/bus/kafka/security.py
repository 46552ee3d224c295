"""How to get into a secured cluster: read from the environment and the data folder here and nowhere else.

Every setting is a variable `SIXFOLD_KAFKA_…`, or a key of `kafka.toml` in the data folder, which its owner alone may
read. None is part of a URL or an option of a command: process lists show those. The processes that `sixfold up` starts
inherit the variables and share the folder.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import tomllib
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from aiokafka import codec

from sixfold import errors

PREFIX = "SIXFOLD_KAFKA_"
ZONE = "SIXFOLD_ZONE"
"""The zone that this machine stands in, as `broker.rack` has it."""
FILE = "kafka.toml"
"""In the data folder: `user = "alice"` stands for `SIXFOLD_KAFKA_USER=alice`. The environment goes before it."""
VARIABLES = (
    "TLS",
    "CA_FILE",
    "CERTIFICATE_FILE",
    "KEY_FILE",
    "KEY_PASSWORD",
    "KEY_PASSWORD_FILE",
    "MECHANISM",
    "USER",
    "PASSWORD",
    "PASSWORD_FILE",
    "TOKEN_COMMAND",
    "TOKEN_FILE",
    "TOKEN_URL",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CLIENT_SECRET_FILE",
    "SCOPE",
    "COMPRESSION",
)
"""Every variable that is read, after `PREFIX`."""
OF_OTHERS = ("IMAGE", "LIBS")
"""Read by `compose.yaml` and by the scripts that start a local Kafka, under the same prefix."""
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER")
COMPRESSIONS = {"gzip": codec.has_gzip, "snappy": codec.has_snappy, "lz4": codec.has_lz4, "zstd": codec.has_zstd}
"""What Kafka knows, and whether its library is installed."""
_SECRETS = ("KEY_PASSWORD", "PASSWORD", "CLIENT_SECRET")
_FILES = ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE")
_TOKENS = ("TOKEN_COMMAND", "TOKEN_FILE", "TOKEN_URL")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Security:
    """How clients prove who they are, and whom they believe."""

    tls: bool = False
    """Whether the brokers' port speaks TLS. Taken for granted where anything else of this is set."""
    ca_file: str = ""
    """Certificates to believe in place of the system's, PEM."""
    certificate_file: str = ""
    """Ours, for mutual TLS, with those between it and the authority; PEM."""
    key_file: str = ""
    """Its key, where it is not in the same file."""
    key_password: str = dataclasses.field(default="", repr=False)
    mechanism: str = ""
    """One of `MECHANISMS`; none for a cluster that asks for no name, or takes it from the certificate."""
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    token_command: str = dataclasses.field(default="", repr=False)
    """Prints a token; run without a shell for every connection."""
    token_file: str = ""
    """Holds a token; read for every connection, so whoever renews it writes it there."""
    token_url: str = ""
    """The token endpoint of an OpenID provider, asked with client credentials (RFC 6749, 4.4)."""
    client_id: str = ""
    client_secret: str = dataclasses.field(default="", repr=False)
    scope: str = ""

    @property
    def protocol(self) -> str:
        """As Kafka's own `security.protocol`."""
        transport = "SSL" if self.tls else "PLAINTEXT"
        return f"SASL_{transport}" if self.mechanism else transport


OPEN = Security()
"""An open cluster."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """All that the environment and the data folder say about a cluster."""

    security: Security = OPEN
    compression: str | None = None
    rack: str | None = None


def read(environ: Mapping[str, str], data_dir: Path) -> Read:
    """What `environ` and the file in `data_dir` say. Raises UsageError for what means nothing or cannot be read."""
    unknown = [name for name in environ if name.startswith(PREFIX) and name[len(PREFIX) :] not in VARIABLES + OF_OTHERS]
    if unknown:
        known = ", ".join(PREFIX + name for name in VARIABLES)
        raise errors.UsageError(f"{unknown[0]} is no setting; there are: {known}")
    filed = _filed(data_dir / FILE)
    given = {name: environ[PREFIX + name].strip() for name in VARIABLES if environ.get(PREFIX + name, "").strip()}
    for source in (filed, given):
        _one_of(source, *((name, f"{name}_FILE") for name in _SECRETS), _TOKENS)
    for names in (*((name, f"{name}_FILE") for name in _SECRETS), _TOKENS):
        if any(name in given for name in names):  # another way to say the same
            filed = {name: text for name, text in filed.items() if name not in names}
    found = {**filed, **given}
    return Read(
        security=_security(found),
        compression=_compression(found.get("COMPRESSION", "")),
        rack=environ.get(ZONE, "").strip() or filed.get("ZONE") or None,
    )


def _filed(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = stat.S_IMODE(state.st_mode)
                raise errors.UsageError(f"{path} may be read by others (mode {mode:04o}); chmod 600 {path}")
            entries = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:  # its message may quote the file
        raise errors.UsageError(f'{path} is no TOML; expected lines such as user = "alice"') from None
    allowed = {name.lower() for name in (*VARIABLES, "ZONE")}
    for name, value in entries.items():
        if name not in allowed:
            raise errors.UsageError(f"{path}: {name} is no setting; there are: {', '.join(sorted(allowed))}")
        if not isinstance(value, str | bool):
            raise errors.UsageError(f"{path}: {name} must be text in quotes, or true or false")
    return {name.upper(): str(value).strip() for name, value in entries.items() if str(value).strip()}


def _one_of(source: Mapping[str, str], *choices: tuple[str, ...]) -> None:
    for names in choices:
        found = [name for name in names if name in source]
        if len(found) > 1:
            raise errors.UsageError(f"{' and '.join(PREFIX + name for name in found)} are both set; keep one")


def _security(found: Mapping[str, str]) -> Security:
    for name in _FILES:
        if name in found:
            _text_of(found[name], name)
    secrets = {
        name: _text_of(found[f"{name}_FILE"], f"{name}_FILE") if f"{name}_FILE" in found else found.get(name, "")
        for name in _SECRETS
    }
    mechanism = _mechanism(found)
    made = Security(
        tls=_tls(found, bool(mechanism)),
        ca_file=found.get("CA_FILE", ""),
        certificate_file=found.get("CERTIFICATE_FILE", ""),
        key_file=found.get("KEY_FILE", ""),
        key_password=secrets["KEY_PASSWORD"],
        mechanism=mechanism,
        user=found.get("USER", ""),
        password=secrets["PASSWORD"],
        token_command=found.get("TOKEN_COMMAND", ""),
        token_file=found.get("TOKEN_FILE", ""),
        token_url=found.get("TOKEN_URL", ""),
        client_id=found.get("CLIENT_ID", ""),
        client_secret=secrets["CLIENT_SECRET"],
        scope=found.get("SCOPE", ""),
    )
    _check(made)
    return made


def _mechanism(found: Mapping[str, str]) -> str:
    named = found.get("MECHANISM", "").upper()
    if named and named not in MECHANISMS:
        raise errors.UsageError(f"{PREFIX}MECHANISM: expected one of {', '.join(MECHANISMS)}, found {named!r}")
    return named or ("SCRAM-SHA-512" if "USER" in found else "OAUTHBEARER" if set(_TOKENS) & set(found) else "")


def _tls(found: Mapping[str, str], named: bool) -> bool:
    text = found.get("TLS", "").lower()
    if text and text not in (*_TRUE, *_FALSE):
        raise errors.UsageError(f"{PREFIX}TLS: expected true or false, found {text!r}")
    asked = [name for name in _FILES if name in found]
    if text in _FALSE and asked:
        raise errors.UsageError(f"{PREFIX}TLS is {text}, and {PREFIX}{asked[0]} is set; drop one of them")
    # A password goes out in the clear only where somebody has said so.
    return text not in _FALSE if text else bool(asked) or named


def _check(made: Security) -> None:
    if made.key_file and not made.certificate_file:
        raise errors.UsageError(f"{PREFIX}KEY_FILE is set without {PREFIX}CERTIFICATE_FILE; set both")
    token = made.token_command or made.token_file or made.token_url
    if made.mechanism == "OAUTHBEARER":
        if not token:
            names = ", ".join(PREFIX + name for name in _TOKENS)
            raise errors.UsageError(f"OAUTHBEARER needs a token; set one of {names}")
    elif made.mechanism and not (made.user and made.password):
        raise errors.UsageError(f"{made.mechanism} needs {PREFIX}USER and {PREFIX}PASSWORD (or {PREFIX}PASSWORD_FILE)")
    if token and made.mechanism != "OAUTHBEARER":
        raise errors.UsageError(f"a token and {made.mechanism} are both set; drop the token, or {PREFIX}USER")
    if made.token_url:
        place = urllib.parse.urlsplit(made.token_url)
        near = place.scheme == "http" and place.hostname in ("127.0.0.1", "::1", "localhost")
        if not place.hostname or not (place.scheme == "https" or near):
            raise errors.UsageError(f"{PREFIX}TOKEN_URL: expected https://…; a secret is sent there")
        if not (made.client_id and made.client_secret):
            raise errors.UsageError(f"{PREFIX}TOKEN_URL needs {PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET")


def _compression(text: str) -> str | None:
    name = text.lower()
    if name in ("", "none"):
        return None
    if name not in COMPRESSIONS:
        raise errors.UsageError(f"{PREFIX}COMPRESSION: expected none, {', '.join(COMPRESSIONS)}, found {text!r}")
    if not COMPRESSIONS[name]():
        raise errors.UsageError(
            f"{PREFIX}COMPRESSION is {name}, whose library is not installed: pip install 'sixfold[compression]', "
            "wherever records are written or read"
        )
    return name


def _text_of(path: str, name: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise errors.UsageError(f"{PREFIX}{name}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise errors.UsageError(f"{PREFIX}{name}: {path} is no text; expected PEM, or a secret in one line") from None
