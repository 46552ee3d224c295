"""Git's credential helper: hands the gateway's credential to git, for the gateway's own address only.

Source: `gitcredentials(7)` and `git-credential(1)`: git runs the helper with `get`, `store` or `erase` and writes
`key=value` lines; an answer is lines of the same form, no answer lets git go on to the next helper.
"""

from __future__ import annotations

import hmac
import shlex
import sys
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

import msgspec

from sixfold import system
from sixfold.gateway import credentials

LINES_MAX = 100
USERNAME = "sixfold"


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Git's description of what it wants a credential for."""
    wanted: dict[str, str] = {}
    for _, line in zip(range(LINES_MAX), lines, strict=False):
        name, separator, value = line.rstrip("\n").partition("=")
        if not separator:
            break  # a blank line ends it
        wanted[name] = value
    return wanted


def answer(operation: str, wanted: dict[str, str], gateway_url: str, token: str) -> str:
    """What the helper prints: a user name and the token where the gateway itself is meant, else nothing.

    A token goes to no other host, port or protocol: a submodule or a redirect may name any.
    """
    url = urllib.parse.urlsplit(gateway_url)
    same = hmac.compare_digest(wanted.get("host", "").encode(), url.netloc.encode())
    if operation != "get" or not same or wanted.get("protocol") != url.scheme:
        return ""
    return f"username={USERNAME}\npassword={token}\n"


def gateway_url(data_dir: Path) -> str | None:
    """Where the gateway of a data folder is or was reached, None where none was ever started."""
    try:
        recorded = msgspec.json.decode((data_dir / system.GATEWAY_FILE).read_bytes())
        return str(recorded["url"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None


def helper(data_dir: Path) -> str:
    """The value of git's `credential.<url>.helper` that leads back here; works from any folder and any shell."""
    words = [sys.executable, "-m", "sixfold", "--data-dir", str(data_dir.absolute()), "git", "credential"]
    return "!" + shlex.join(words)


def respond(data_dir: Path, operation: str, lines: Iterable[str]) -> str:
    """One call of the helper: what to print for `operation` and git's `lines`."""
    url = gateway_url(data_dir)
    if operation != "get" or url is None:
        return ""
    token = credentials.token(data_dir / credentials.FOLDER / credentials.BOOTSTRAP)
    return answer(operation, parse(lines), url, token)
