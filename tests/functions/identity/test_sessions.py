"""Session credentials: stateless, bound to their access key, gone when they end."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold_functions.identity import core, sessions
from sixfold_functions.identity.refusal import Refusal

KEYS = sessions.SessionKeys(b"s" * 32, b"t" * 32)
SESSION = sessions.Session(
    access_key_id="ASIAAAAAAAAAAAAAAAAA",
    kind=sessions.ROLE,
    role="payments",
    name="batch",
    issuer="https://login.example.com",
    subject="alice",
    tags={"team": ("risk",)},
    issued_at_s=1000,
    expires_at_s=2000,
)


def test_a_session_comes_back_out_of_its_token() -> None:
    """Everything that a decision needs is in the token; nothing is stored."""
    credentials = sessions.mint(KEYS, SESSION, os.urandom)
    assert sessions.open_token(KEYS, credentials.access_key_id, credentials.session_token) == SESSION
    assert credentials.secret_access_key == sessions.secret(KEYS, SESSION.access_key_id)
    assert len(credentials.secret_access_key) == 40


def test_an_access_key_id_looks_as_aws_makes_them() -> None:
    """ASIA and sixteen characters, a new one each time."""
    made = {sessions.access_key_id(os.urandom) for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("ASIA") and len(each) == 20 for each in made)


def test_a_session_ends_at_its_second() -> None:
    """Expired is refused by name."""
    sessions.check_time(SESSION, 1999.9)
    with pytest.raises(Refusal, match="ExpiredTokenException"):
        sessions.check_time(SESSION, 2000)


def test_a_token_of_one_access_key_is_nothing_with_another() -> None:
    """A token that was read in the log cannot be paired with a key of one's own."""
    credentials = sessions.mint(KEYS, SESSION, os.urandom)
    with pytest.raises(Refusal, match="UnrecognizedClientException"):
        sessions.open_token(KEYS, "ASIABBBBBBBBBBBBBBBB", credentials.session_token)


def test_a_token_under_another_root_is_nothing() -> None:
    """Another session key opens nothing."""
    credentials = sessions.mint(KEYS, SESSION, os.urandom)
    with pytest.raises(Refusal, match="UnrecognizedClientException"):
        sessions.open_token(
            sessions.SessionKeys(KEYS.sts, b"u" * 32), credentials.access_key_id, credentials.session_token
        )


TOKEN = sessions.mint(KEYS, SESSION, lambda count: bytes(range(count))).session_token


@settings(max_examples=500, deadline=None)
@given(place=st.integers(0, len(TOKEN) - 1), char=st.characters(max_codepoint=0x2FF))
def test_a_token_with_one_changed_character_is_refused(place: int, char: str) -> None:
    """No character can be another one, the unused bits of the last one included."""
    changed = TOKEN[:place] + char + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(Refusal, match="UnrecognizedClientException"):
            sessions.open_token(KEYS, SESSION.access_key_id, changed)


def test_no_secret_shows_in_what_is_printed() -> None:
    """Credentials and keys hide their secrets in repr, so logs and tracebacks cannot hold them."""
    credentials = sessions.mint(KEYS, SESSION, os.urandom)
    shown = repr(credentials) + repr(KEYS) + str(credentials)
    assert credentials.secret_access_key not in shown
    assert credentials.session_token not in shown
    assert "ssss" not in shown


def test_a_session_of_a_role_that_is_gone_is_denied_whatever_else_allows_it() -> None:
    """Not only left without a permission: a key's policy or a grant may still name the role."""
    session = sessions.Session(
        access_key_id="ASIA", kind=sessions.ROLE, role="gone", name="s", issued_at_s=0, expires_at_s=1
    )
    assert core.permits(None, session, "kms:Decrypt", "*", {}).denied
