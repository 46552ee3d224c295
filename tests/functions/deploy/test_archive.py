"""Artifacts are read without trust: what leads out, what is too much, and what is damaged is refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from sixfold import document
from sixfold.errors import SixfoldError, UsageError
from sixfold_functions.deploy import archive, pack

SPEC = b"version: 0.0\nos: linux\n"


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes], spec: str = "appspec.yml") -> Path:
    """A .tar.gz with these members and an AppSpec."""
    with tarfile.open(path, "w:gz") as tar:
        for info, data in (member(spec, SPEC), *members):
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_revision_is_unpacked_with_its_executables(tmp_path: Path) -> None:
    """Folders, files, links within and the executable bit come out; nothing else of the modes does."""
    path = packed(
        tmp_path / "a.tar.gz",
        member("bin/run.sh", b"#!/bin/sh\n", mode=0o4775),
        member("bin/link", type=tarfile.SYMTYPE, linkname="run.sh"),
        member("empty", type=tarfile.DIRTYPE),
    )
    contents = archive.inspect(path, "appspec.yml")
    assert contents.paths == {"appspec.yml", "bin", "bin/run.sh", "bin/link", "empty"}
    archive.unpack(path, tmp_path / "out", contents.prefix)
    assert (tmp_path / "out/bin/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/bin/link").readlink() == Path("run.sh")
    assert (tmp_path / "out/empty").is_dir()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("present", "wanted"),
    [("appspec.yml", "appspec.yml"), ("deploy/spec.yml", "deploy/spec.yml"), ("appspec.yaml", "missing.yml")],
)
def test_the_appspec_is_the_named_one_else_one_of_the_usual_names(tmp_path: Path, present: str, wanted: str) -> None:
    """As CodeDeploy's agent looks for it."""
    path = packed(tmp_path / "a.tar.gz", spec=present)
    assert archive.inspect(path, wanted).spec.file == present


def test_one_folder_around_everything_is_stripped(tmp_path: Path) -> None:
    """An archive made of a folder deploys like one made in it."""
    path = packed(tmp_path / "a.tar.gz", member("web-1/run.sh", b"x"), spec="web-1/appspec.yml")
    contents = archive.inspect(path, "appspec.yml")
    assert contents.prefix == "web-1/"
    assert contents.paths == {"appspec.yml", "run.sh"}
    archive.unpack(path, tmp_path / "out", contents.prefix)
    assert (tmp_path / "out/run.sh").read_bytes() == b"x"


REFUSED = [
    ([member("../evil", b"x")], "path '../evil'"),
    ([member("/etc/evil", b"x")], "path '/etc/evil'"),
    ([member("a\nb", b"x")], "control characters"),
    ([member("dev", type=tarfile.CHRTYPE)], "neither file, folder nor link"),
    ([member("fifo", type=tarfile.FIFOTYPE)], "neither file, folder nor link"),
    ([member("hard", type=tarfile.LNKTYPE, linkname="appspec.yml")], "neither file, folder nor link"),
    ([member("out", type=tarfile.SYMTYPE, linkname="../../etc/passwd")], "leads out of the artifact"),
    ([member("out", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "leads out of the artifact"),
    (
        [member("d", type=tarfile.SYMTYPE, linkname="/tmp"), member("d/evil", b"x")],
        "lies behind a link",
    ),
    (
        [
            member("sub/up", type=tarfile.SYMTYPE, linkname=".."),
            member("x", type=tarfile.SYMTYPE, linkname="sub/up/../.."),
        ],
        "leads out of the artifact",
    ),
    ([member("a", b"x"), member("a", b"y")], "in the artifact twice"),
]


@pytest.mark.parametrize(("members", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_leads_out_of_the_archive_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], said: str
) -> None:
    """Nothing appears outside, nothing is left inside."""
    path = packed(tmp_path / "a.tar.gz", *members)
    with pytest.raises(archive.ArchiveError, match=said):
        archive.unpack(path, tmp_path / "deep" / "out", archive.inspect(path, "appspec.yml").prefix)
    assert not (tmp_path / "deep" / "out").exists()
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("cut", [0, 5, 30, -3000])
def test_a_damaged_artifact_is_a_clear_error(tmp_path: Path, cut: int) -> None:
    """Cut short anywhere, or no .tar.gz at all."""
    path = packed(tmp_path / "a.tar.gz", member("a", os.urandom(5_000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SixfoldError, match="artifact"):
        archive.inspect(path, "appspec.yml")
    (tmp_path / "b").write_bytes(b"no archive")
    with pytest.raises(archive.ArchiveError, match=r"no .tar.gz that can be read"):
        archive.inspect(tmp_path / "b", "appspec.yml")


def test_a_bomb_is_refused_before_it_fills_memory_or_disk(tmp_path: Path) -> None:
    """A member, or a header's extension, that claims more than the limits ends in an error at once."""
    claims = member("big")[0]
    claims.size = archive.UNPACKED_BYTES_MAX + 1
    extension = tarfile.TarInfo("ext")
    extension.type, extension.size = tarfile.XHDTYPE, 1 << 30
    for info in (claims, extension):
        path = tmp_path / "bomb.tar.gz"
        with gzip.open(path, "wb") as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000)
        with pytest.raises(archive.ArchiveError, match=r"more than|larger than any honest one"):
            archive.inspect(path, "appspec.yml")


def test_a_broken_or_incomplete_appspec_names_its_line(tmp_path: Path) -> None:
    """The error is the AppSpec's, with the file as it is called in the artifact."""
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info, data = member("deploy/spec.yml", SPEC + b"files:\n  - source: gone\n    destination: /srv\n")
        tar.addfile(info, io.BytesIO(data))
    with pytest.raises(document.DocumentError, match=r"deploy/spec.yml:4: files: source 'gone' is not in the revision"):
        archive.inspect(path, "deploy/spec.yml")


def test_the_same_files_pack_to_the_same_artifact(tmp_path: Path) -> None:
    """Times, owners and the order of the file system leave no trace; .git is left out."""
    digests: list[bytes] = []
    for name, order in (("one", ["b", "a"]), ("two", ["a", "b"])):
        folder = tmp_path / name
        (folder / ".git").mkdir(parents=True)
        (folder / ".git" / "HEAD").write_text(name)
        for each in order:
            (folder / each).write_text(each)
            os.utime(folder / each, (len(digests), len(digests)))
        data = io.BytesIO()
        assert pack.pack(folder, data) == 2
        digests.append(data.getvalue())
    assert digests[0] == digests[1]


def test_nothing_to_pack_is_an_error(tmp_path: Path) -> None:
    """An empty folder, and a folder that is none."""
    with pytest.raises(UsageError, match="holds no files"):
        pack.pack(tmp_path, io.BytesIO())
    with pytest.raises(UsageError, match="is no folder"):
        pack.pack(tmp_path / "gone", io.BytesIO())
