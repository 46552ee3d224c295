"""How a secured cluster is described: by variables or a file that nobody else may read, refused where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import authorities

from sixfold import errors
from sixfold.bus import open_bus
from sixfold.bus.kafka import connecting, security
from sixfold.bus.kafka import settings as kafka_settings

ROOT = Path(__file__).parents[2]


def said(environ: dict[str, str], folder: Path) -> str:
    """Why it is refused."""
    with pytest.raises(errors.UsageError) as found:
        security.read({security.PREFIX + name: value for name, value in environ.items()}, folder)
    return str(found.value)


def filed(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A settings file."""
    path = folder / security.FILE
    path.write_text(text)
    path.chmod(mode)
    return path


def test_nothing_set_is_an_open_cluster(tmp_path: Path) -> None:
    """No TLS, no name, no compression, no zone."""
    found = security.read({}, tmp_path)
    assert found == security.Read()
    assert connecting.options(kafka_settings.KafkaSettings()) == {"security_protocol": "PLAINTEXT"}


def test_credentials_go_out_over_tls_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    """TLS is taken for granted with a user or a token, and turned off by a word."""
    named = {"SIXFOLD_KAFKA_USER": "alice", "SIXFOLD_KAFKA_PASSWORD": "secret"}
    assert security.read(named, tmp_path).security.protocol == "SASL_SSL"
    assert security.read({**named, "SIXFOLD_KAFKA_TLS": "false"}, tmp_path).security.protocol == "SASL_PLAINTEXT"
    assert security.read({"SIXFOLD_KAFKA_TOKEN_COMMAND": "x"}, tmp_path).security.mechanism == "OAUTHBEARER"


def test_no_secret_is_shown_by_the_settings(tmp_path: Path) -> None:
    """Neither a log line nor a traceback that prints them has one."""
    environ = {
        "USER": "alice",
        "PASSWORD": "secret-1",
        "KEY_PASSWORD": "secret-2",
        "CLIENT_SECRET": "secret-3",
    }
    found = security.read({security.PREFIX + name: value for name, value in environ.items()}, tmp_path)
    shown = repr(kafka_settings.KafkaSettings(security=found.security))
    assert "alice" in shown
    assert "secret-" not in shown


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    """Also where both say the same in different ways."""
    filed(tmp_path, 'user = "alice"\npassword = "of-the-file"\ntls = false\nzone = "a"\n')
    assert security.read({}, tmp_path).security.password == "of-the-file"
    assert security.read({}, tmp_path).rack == "a"
    (tmp_path / "password").write_text("of-the-environment\n")
    environ = {"SIXFOLD_KAFKA_PASSWORD_FILE": str(tmp_path / "password"), security.ZONE: "b"}
    found = security.read(environ, tmp_path)
    assert (found.security.user, found.security.password, found.rack) == ("alice", "of-the-environment", "b")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that sets it right."""
    path = filed(tmp_path, 'user = "alice"\n', mode)
    assert f"chmod 600 {path}" in said({}, tmp_path)


def test_a_file_that_cannot_be_parsed_is_not_quoted(tmp_path: Path) -> None:
    """It has secrets in it."""
    filed(tmp_path, "password = secret\n")
    message = said({}, tmp_path)
    assert "no TOML" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PASSWROD": "x"}, "SIXFOLD_KAFKA_PASSWROD is no setting"),
        ({"USER": "alice"}, "needs SIXFOLD_KAFKA_USER and SIXFOLD_KAFKA_PASSWORD"),
        ({"USER": "alice", "PASSWORD": "x", "PASSWORD_FILE": "/y"}, "both set"),
        ({"MECHANISM": "GSSAPI"}, "expected one of SCRAM-SHA-256"),
        ({"MECHANISM": "OAUTHBEARER"}, "OAUTHBEARER needs a token"),
        ({"TOKEN_FILE": "/x", "TOKEN_COMMAND": "y"}, "both set"),
        ({"USER": "alice", "PASSWORD": "x", "TOKEN_FILE": "/x"}, "drop the token"),
        ({"TOKEN_URL": "http://provider.example/token"}, "expected https://"),
        ({"TOKEN_URL": "https://provider.example/token"}, "SIXFOLD_KAFKA_CLIENT_ID"),
        ({"CA_FILE": "/nowhere/ca.pem"}, "SIXFOLD_KAFKA_CA_FILE: /nowhere/ca.pem cannot be read: No such file"),
        ({"USER": "a", "PASSWORD_FILE": "/nowhere/p"}, "SIXFOLD_KAFKA_PASSWORD_FILE: /nowhere/p cannot be read"),
        ({"TLS": "maybe"}, "expected true or false"),
        ({"TLS": "false", "CA_FILE": "/x"}, ""),
        ({"COMPRESSION": "brotli"}, "expected none, gzip, snappy, lz4, zstd"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    """Each with the variable, what was expected and what to do."""
    assert expected in said(environ, tmp_path)


def test_a_codec_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it; not by a publish that fails later."""
    monkeypatch.setitem(security.COMPRESSIONS, "zstd", lambda: False)
    assert "pip install 'sixfold[compression]'" in said({"COMPRESSION": "zstd"}, tmp_path)


def test_a_key_of_another_certificate_or_without_its_password_is_said(tmp_path: Path) -> None:
    """No question at the terminal either."""
    authority = authorities.Authority(tmp_path)
    certificate, _ = authority.sign("one")
    for key in (authority.sign("two")[1], authority.sign("one", password="secret")[1]):
        found = security.Security(tls=True, certificate_file=str(certificate), key_file=str(key))
        with pytest.raises(errors.UsageError, match="cannot be used"):
            connecting.options(kafka_settings.KafkaSettings(security=found))


def test_a_file_without_certificates_is_said(tmp_path: Path) -> None:
    """By the variable that names it."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing\n")
    with pytest.raises(errors.UsageError, match="SIXFOLD_KAFKA_CA_FILE"):
        connecting.options(kafka_settings.KafkaSettings(security=security.Security(tls=True, ca_file=str(path))))


def test_a_password_in_the_buss_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """Process lists show addresses."""
    with pytest.raises(errors.UsageError, match="SIXFOLD_KAFKA_PASSWORD_FILE") as found:
        open_bus("kafka://alice:secret@broker.example:9092", data_dir=tmp_path)
    assert "secret" not in str(found.value)


def test_the_readme_names_every_variable() -> None:
    """Whoever looks for one finds it."""
    readme = (ROOT / "README.md").read_text()
    assert [
        name for name in security.VARIABLES if f"`{name}`" not in readme and f"SIXFOLD_KAFKA_{name}" not in readme
    ] == []
    assert security.ZONE in readme
