"""Install: files where the AppSpec says, permissions as it says, and the revision before taken away again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sixfold.errors import UsageError
from sixfold_functions.deploy import appspec
from sixfold_functions.deploy.agent import install, plan
from sixfold_functions.deploy.agent.folder import Folder, OutsideRootError, safe_name

GROUP = "group-id"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An agent's folder."""
    folder = Folder(tmp_path / "instance")
    folder.make()
    return folder


def revision(path: Path, *names: str) -> Path:
    """An unpacked revision with files that hold their own names."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


def spec(files: str = "", more: str = "") -> appspec.AppSpec:
    text = f"version: 0.0\nos: linux\nfiles:\n{files}{more}"
    return appspec.parse(text.encode())


ALL = "  - source: /\n    destination: /srv/web\n"


def tree(folder: Folder) -> set[str]:
    return {str(path.relative_to(folder.root)) for path in folder.root.rglob("*")}


def test_files_and_folders_go_where_the_appspec_says(folder: Folder, tmp_path: Path) -> None:
    """A folder's content goes into the destination, a file under its own name, links stay links."""
    archive = revision(tmp_path / "r", "a", "sub/b", "conf/web.conf")
    (archive / "link").symlink_to("a")
    install.install(folder, GROUP, spec(ALL + "  - source: conf/web.conf\n    destination: /etc/web\n"), archive)
    assert tree(folder) == {
        *("srv", "srv/web", "srv/web/a", "srv/web/link", "srv/web/sub", "srv/web/sub/b"),
        *("srv/web/conf", "srv/web/conf/web.conf", "etc", "etc/web", "etc/web/web.conf"),
    }
    assert (folder.root / "srv/web/link").readlink() == Path("a")


def test_the_next_install_takes_away_what_the_last_one_brought_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    """Files of the old revision go, folders that are empty then too; a stranger's file and its folder stay."""
    install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r1", "old/a", "logs/x", "b"))
    (folder.root / "srv/web/logs/written-by-the-service").write_text("keep")
    install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r2", "b", "new/c"))
    assert tree(folder) == {
        *("srv", "srv/web", "srv/web/b", "srv/web/new", "srv/web/new/c"),
        *("srv/web/logs", "srv/web/logs/written-by-the-service"),
    }


@pytest.mark.parametrize("made", range(7))
def test_a_crash_in_the_middle_leaves_nothing_that_the_next_install_does_not_know(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    """Whatever number of paths was made when the agent died, the next revision finds a clean place."""

    class Died(BaseException):
        pass

    real, left = install._carry_out, made

    def dies(folder: Folder, instruction: plan.Instruction) -> None:
        nonlocal left
        if not left:
            raise Died
        left -= 1
        real(folder, instruction)

    monkeypatch.setattr(install, "_carry_out", dies)
    with pytest.raises(Died):
        install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r1", "a", "sub/b", "sub/deep/c"))
    monkeypatch.setattr(install, "_carry_out", real)
    install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r2", "d"))
    assert tree(folder) == {"srv", "srv/web", "srv/web/d"}


def test_a_torn_last_line_of_the_manifest_is_not_followed(folder: Folder) -> None:
    """What stands there without its newline may be the beginning of another path."""
    (folder.root / "srv").mkdir()
    (folder.root / "srv/web").write_text("somebody's")
    (folder.root / "srv/old").write_text("ours")
    folder.cleanup(GROUP).write_text("/srv/old\n/srv/web")
    install.undo(folder, GROUP)
    assert tree(folder) == {"srv", "srv/web"}


@pytest.mark.parametrize(
    ("behaviour", "content", "after_next"),
    [("OVERWRITE", "a", None), ("RETAIN", "somebody's", "somebody's"), ("DISALLOW", None, None)],
)
def test_a_file_that_exists_already_is_refused_overwritten_or_retained(
    folder: Folder, tmp_path: Path, behaviour: str, content: str | None, after_next: str | None
) -> None:
    """As `file_exists_behavior` says; what was retained is not ours to take away later."""
    place = folder.root / "srv/web/a"
    place.parent.mkdir(parents=True)
    place.write_text("somebody's")
    chosen = spec(ALL, f"file_exists_behavior: {behaviour}\n")
    archive = revision(tmp_path / "r1", "a")
    if content is None:
        with pytest.raises(plan.InstallError, match="/srv/web/a exists on the instance"):
            install.install(folder, GROUP, chosen, archive)
        assert place.read_text() == "somebody's"
        return
    install.install(folder, GROUP, chosen, archive)
    assert place.read_text() == content
    install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r2", "b"))
    assert (place.read_text() if place.exists() else None) == after_next


CLASHES = [
    (ALL + "  - source: a\n    destination: /srv/web\n", "/srv/web/a would come from two sources"),
    (ALL + "  - source: b/a\n    destination: /srv/web/a\n", "/srv/web/a would be a file and a folder"),
]


@pytest.mark.parametrize(("files", "said"), CLASHES)
def test_sources_that_clash_are_refused_before_anything_is_done(
    folder: Folder, tmp_path: Path, files: str, said: str
) -> None:
    """Two sources for one file, a file where a folder is needed: nothing is made."""
    with pytest.raises(plan.InstallError, match=said):
        install.install(folder, GROUP, spec(files), revision(tmp_path / "r", "a", "b/a"))
    assert tree(folder) == set()


PERMISSIONS = """permissions:
  - object: /srv/web
    pattern: "*.sh"
    except: [private.sh]
    type: [file]
    mode: 0750
  - object: /srv/web
    type: [directory]
    mode: 0700
  - object: /srv/web/private.sh
    mode: 600
"""


def test_permissions_fall_on_what_they_name(folder: Folder, tmp_path: Path) -> None:
    """Patterns are of one level, exceptions are left out, types are told apart, and modes are octal as written."""
    archive = revision(tmp_path / "r", "a.sh", "private.sh", "sub/b.sh", "c.txt")
    install.install(folder, GROUP, spec(ALL, PERMISSIONS), archive)
    modes = {name: (folder.root / "srv/web" / name).stat().st_mode & 0o777 for name in ("a.sh", "private.sh", "sub")}
    assert modes == {"a.sh": 0o750, "private.sh": 0o600, "sub": 0o700}
    assert (folder.root / "srv/web/sub/b.sh").stat().st_mode & 0o777 == 0o644


def test_permissions_given_twice_name_both_lines(folder: Folder, tmp_path: Path) -> None:
    """Which of the two would count is nobody's guess."""
    twice = "permissions:\n  - object: /srv/web/a\n    mode: 600\n  - object: /srv/web/a\n    mode: 644\n"
    with pytest.raises(
        plan.InstallError, match=r"appspec.yml:9: permissions of /srv/web/a are given twice \(first on l"
    ):
        install.install(folder, GROUP, spec(ALL, twice), revision(tmp_path / "r", "a"))


def test_an_unknown_owner_is_a_clear_error(folder: Folder, tmp_path: Path) -> None:
    """The user must exist on the instance."""
    owner = "permissions:\n  - object: /srv/web\n    owner: nobody-of-this-name\n"
    with pytest.raises(plan.InstallError, match="nobody-of-this-name"):
        install.install(folder, GROUP, spec(ALL, owner), revision(tmp_path / "r", "a"))


def test_a_link_on_the_instance_that_leads_out_of_its_root_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    """Destinations stay below the root, whatever a script has put there."""
    (tmp_path / "outside").mkdir()
    (folder.root / "srv").symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideRootError, match="leads out of the instance's root"):
        install.install(folder, GROUP, spec(ALL), revision(tmp_path / "r", "a"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_one_folder_is_one_agent(folder: Folder) -> None:
    """A second agent on the same folder is refused with a reason."""
    with folder.lock(), pytest.raises(UsageError, match="another agent works in"):
        folder.lock()
    folder.lock().close()


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "", "a" * 101, "ä"])
def test_a_deployment_id_never_becomes_another_path(name: str) -> None:
    """Ids that are no plain names are stored under their digest."""
    assert len(safe_name(name)) == 64
    assert "/" not in safe_name(name)
