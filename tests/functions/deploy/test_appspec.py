"""AppSpecs are read strictly: what is right is understood, what is wrong is named with its file and line."""

from __future__ import annotations

import pytest

from sixfold import document
from sixfold_functions.deploy import appspec, lifecycle

WHOLE = b"""\
version: 0.0
os: linux
files:
  - source: /
    destination: /srv/web
  - source: config/web.conf
    destination: /etc/web/
file_exists_behavior: RETAIN
permissions:
  - object: /srv/web
    pattern: "*.sh"
    except: [private.sh]
    type: [file]
    owner: root
    group: root
    mode: 0755
hooks:
  ApplicationStop:
    - location: scripts/stop.sh
      timeout: 30
      runas: root
  ValidateService:
    - location: scripts/validate.sh
  AfterInstall:
"""


def test_everything_in_a_whole_appspec_is_understood() -> None:
    """Files, behaviour, permissions and hooks come out as written, with CodeDeploy's defaults."""
    spec = appspec.parse(WHOLE)
    assert [(each.source, each.destination) for each in spec.files] == [
        ("", "/srv/web"),
        ("config/web.conf", "/etc/web"),
    ]
    assert spec.file_exists is appspec.FileExists.RETAIN
    (permission,) = spec.permissions
    assert (permission.object, permission.pattern, permission.excepts) == ("/srv/web", "*.sh", ("private.sh",))
    assert (permission.types, permission.mode, permission.owner) == (("file",), 0o755, "root")
    assert spec.hooks["ApplicationStop"] == (appspec.Script("scripts/stop.sh", 30, "root", 19),)
    assert spec.hooks["ValidateService"][0].timeout_s == 3600
    assert "AfterInstall" not in spec.hooks, "an event without scripts is no hook"


def test_the_least_appspec_is_enough() -> None:
    """Version and os alone are an AppSpec: nothing is copied, nothing runs."""
    spec = appspec.parse(b"version: 0.0\nos: linux\n")
    assert (spec.files, spec.permissions, spec.hooks) == ((), (), {})
    assert spec.file_exists is appspec.FileExists.DISALLOW


HEAD = b"version: 0.0\nos: linux\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"os: linux\n", 1, "version is missing"),
        (b"version: 0.0\n", 1, "os is missing"),
        (b"version: 1.0\nos: linux\n", 1, "version: expected 0.0, found '1.0'"),
        (b"version: 0.0\nos: windows\n", 2, "os: expected linux, found 'windows'"),
        (b"version: 0.0\nos:\n", 2, "os: expected a text, found nothing"),
        (HEAD + b"fils: []\n", 3, "unknown key 'fils'; expected version, os, files"),
        (HEAD + b"os: linux\n", 3, "key 'os' stands here a second time (first on line 2)"),
        (HEAD + b"files: web\n", 3, "files: expected a list"),
        (HEAD + b"files:\n  - source: a\n", 4, "files[0]: destination is missing"),
        (HEAD + b"files:\n  - source: ../a\n    destination: /b\n", 4, "files[0].source: expected a path within"),
        (HEAD + b"files:\n  - source: a\n    destination: b\n", 5, "files[0].destination: expected an absolute path"),
        (HEAD + b"files:\n  - source: a\n    destination: /b/../..\n", 5, "expected an absolute path without `..`"),
        (HEAD + b"file_exists_behavior: KEEP\n", 3, "expected DISALLOW or OVERWRITE or RETAIN, found 'KEEP'"),
        (HEAD + b"permissions:\n  - mode: 0644\n", 4, "permissions[0]: object is missing"),
        (HEAD + b"permissions:\n  - object: /a\n    mode: 0689\n", 5, "expected one to four octal digits"),
        (HEAD + b"permissions:\n  - object: /a\n    type: [link]\n", 5, "expected file or directory, found 'link'"),
        (HEAD + b"permissions:\n  - object: /a\n    owner: a b\n", 5, "expected the name of a user or group"),
        (HEAD + b"permissions:\n  - object: /a\n    acls: []\n", 5, "unknown key 'acls'"),
        (HEAD + b"hooks:\n  BeforeInstal:\n    - location: a\n", 4, "hooks.BeforeInstal: unknown lifecycle event"),
        (HEAD + b"hooks:\n  Install:\n    - location: a\n", 4, "no scripts can run at Install"),
        (HEAD + b"hooks:\n  AfterInstall:\n    - timeout: 5\n", 5, "location is missing"),
        (HEAD + b"hooks:\n  AfterInstall:\n    - location: /\n", 5, "expected the path of a script"),
        (HEAD + b"hooks:\n  AfterInstall:\n    - location: a\n      timeout: 0\n", 6, "from 1 to 3600, found '0'"),
        (HEAD + b"hooks:\n  AfterInstall:\n    - location: a\n      timeout: soon\n", 6, "found 'soon'"),
        (HEAD + b"hooks:\n  AfterInstall:\n    location: a\n", 4, "hooks.AfterInstall: expected a list"),
        (HEAD + b"hooks: &a\n  AfterInstall: *a\n", 4, "aliases are not supported"),
        (HEAD + b"hooks: [}\n", 3, "not valid YAML"),
        (HEAD + b"a: " + b"[" * 40 + b"]" * 40, 3, "more than 16 nested collections"),
        (HEAD + b"files: \xff\n", 3, "not UTF-8 text (byte 0xff)"),
        (HEAD + b"files: \x07\n", 3, "a control character"),
        (HEAD + b"---\nversion: 0.0\n", 3, "not valid YAML"),
        (b"#" * 70_000, 1, "70000 bytes; expected at most 65536"),
    ],
)
def test_every_error_names_file_and_line(text: bytes, line: int, said: str) -> None:
    """A broken AppSpec is refused with `file:line: what was expected and what was found`."""
    with pytest.raises(document.DocumentError) as caught:
        appspec.parse(text, "deploy/appspec.yml")
    assert str(caught.value).startswith(f"deploy/appspec.yml:{line}: ")
    assert said in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("deploy/appspec.yml", line)


def test_timeouts_of_one_event_may_not_add_up_to_more_than_an_hour() -> None:
    """CodeDeploy's limit of 3600 s is for all scripts of an event together."""
    text = HEAD + b"hooks:\n  AfterInstall:\n" + b"    - location: a\n      timeout: 1801\n" * 2
    with pytest.raises(document.DocumentError, match=r":4: hooks.AfterInstall: timeouts add up to 3602 s"):
        appspec.parse(text)


def test_a_file_that_the_revision_lacks_is_found_before_any_instance_is_touched() -> None:
    """Sources and scripts are checked against the revision, with the line of the AppSpec that names them."""
    spec = appspec.parse(WHOLE)
    present = frozenset({"config/web.conf", "scripts/stop.sh", "scripts/validate.sh"})
    assert spec.missing(present) is None
    assert "appspec.yml:6: files: source 'config/web.conf'" in str(spec.missing(present - {"config/web.conf"}))
    assert "appspec.yml:23: hooks.ValidateService" in str(spec.missing(present - {"scripts/validate.sh"}))


def test_the_lifecycle_has_codedeploys_order() -> None:
    """Thirteen events with a load balancer, seven of them without."""
    assert len(lifecycle.LIFECYCLE) == 13
    assert lifecycle.IN_PLACE_NAMES == (
        "ApplicationStop",
        "DownloadBundle",
        "BeforeInstall",
        "Install",
        "AfterInstall",
        "ApplicationStart",
        "ValidateService",
    )
