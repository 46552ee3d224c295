"""Credentials: random, private, found by hash, and as durable as their files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sixfold.gateway import auth, credentials
from sixfold.gateway.route import Principal


def test_a_credential_is_made_once_and_private(tmp_path: Path) -> None:
    """Making it again gives the same token; only the owner can read it; the record holds no token."""
    path = credentials.create(tmp_path, kind="agent", name="i-1")
    token = credentials.token(path)
    assert credentials.create(tmp_path, kind="agent", name="i-1") == path
    assert credentials.token(path) == token
    assert len(token) >= 43
    folder = tmp_path / "credentials"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert token not in (folder / "agent-i-1.json").read_text()


def test_the_verifier_knows_each_by_its_token(tmp_path: Path) -> None:
    """And nobody by another one."""
    verifier = credentials.Verifier(tmp_path)
    assert verifier.principal("anything") is None
    agent = credentials.token(credentials.create(tmp_path, kind="agent", name="i-1"))
    operator = credentials.token(credentials.bootstrap(tmp_path))
    assert verifier.principal(agent) == Principal("agent", "i-1")
    assert verifier.principal(operator) == Principal("operator", "bootstrap")
    for wrong in ("", agent[:-1], agent + "x", agent.swapcase(), "x" * 100_000, "\udc80"):
        assert verifier.principal(wrong) is None


def test_many_who_make_one_at_once_get_the_same(tmp_path: Path) -> None:
    """The first wins, the others read; the record fits."""
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: credentials.token(credentials.bootstrap(tmp_path)), range(32)))
    assert len(tokens) == 1
    assert credentials.Verifier(tmp_path).principal(tokens.pop()) == Principal("operator", "bootstrap")


def test_a_record_lost_between_the_two_files_is_made_again(tmp_path: Path) -> None:
    """A crash after the token was written leaves nothing to repair."""
    path = credentials.bootstrap(tmp_path)
    (tmp_path / "credentials" / "bootstrap.json").write_text("{")
    verifier = credentials.Verifier(tmp_path)
    assert verifier.principal(credentials.token(path)) is None
    credentials.bootstrap(tmp_path)
    assert verifier.principal(credentials.token(path)) == Principal("operator", "bootstrap")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65, "a b", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    """No credential lands outside its folder."""
    with pytest.raises(credentials.CredentialError):
        credentials.create(tmp_path, kind="agent", name=name)


def test_a_missing_token_says_where_it_should_be(tmp_path: Path) -> None:
    """And who makes it."""
    with pytest.raises(credentials.CredentialError, match="sixfold up"):
        credentials.token(tmp_path / "credentials" / "bootstrap.token")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic Z2l0OmFiYw==", "abc"),
        ("Basic Z2l0OmE6Yg==", "a:b"),
        ("Basic !!!", ""),
        ("Basic /w==", ""),
        ("Digest abc", ""),
        ("", ""),
    ],
)
def test_a_token_is_read_from_either_scheme(header: str, token: str) -> None:
    """Bearer's value, Basic's password, nothing from anything else."""
    assert auth.offered(header) == token
