"""Artifacts: the same files give the same bytes, and nothing from outside gets in."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from sixfold_functions.pipeline import artifact
from sixfold_functions.pipeline.log import BuildLog
from sixfold_functions.pipeline.settings import PipelineSettings


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def pack(root: Path, target: Path, base: str = ".", *patterns: str, bytes_max: int = 10_000) -> list[str]:
    artifact.pack(root, base, patterns or ("**/*",), target, bytes_max=bytes_max, files_max=10)
    with tarfile.open(target) as archive:
        return archive.getnames()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Neither the order of making them, nor times, nor the umask change the digest; the content and x-bit do."""
    digests = []
    for number, names in enumerate([("a", "b/c"), ("b/c", "a")]):
        root = tmp_path / str(number)
        make(root, *names)
        os.utime(root / "a", (number, number))
        (root / "a").chmod(0o640 if number else 0o600)
        pack(root, tmp_path / "out")
        digests.append(hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    (tmp_path / "0" / "a").chmod(0o755)
    pack(tmp_path / "0", tmp_path / "out")
    assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() != digests[0]


@pytest.mark.parametrize(
    ("base", "patterns", "names"),
    [
        (".", ("**/*",), ["a.txt", "d/b.py", "d/e/c.txt"]),
        ("d", ("**/*",), ["b.py", "e/c.txt"]),
        (".", ("*",), ["a.txt"]),
        (".", ("**/*.txt",), ["a.txt", "d/e/c.txt"]),
        (".", ("d/**",), ["d/b.py", "d/e/c.txt"]),
        (".", ("d/?.py", "a.txt"), ["a.txt", "d/b.py"]),
    ],
)
def test_patterns_choose_files(tmp_path: Path, base: str, patterns: tuple[str, ...], names: list[str]) -> None:
    """`*` stays within a folder, `**` goes through all; names are relative to the base; git's own folder is left out."""
    make(tmp_path / "root", "a.txt", "d/b.py", "d/e/c.txt", ".git/config")
    assert pack(tmp_path / "root", tmp_path / "out", base, *patterns) == names


def test_what_leads_out_is_refused(tmp_path: Path) -> None:
    """A link to a file outside, a base outside, nothing to pack, too much: each has its message."""
    root = tmp_path / "root"
    make(root, "a", "d/b")
    (root / "d" / "inside").symlink_to("../a")
    assert pack(root, tmp_path / "out") == ["a", "d/b", "d/inside"]
    with pytest.raises(artifact.ArtifactError, match="leads out"):
        pack(root, tmp_path / "out", "d")
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(artifact.ArtifactError, match="no folder"):
        pack(root, tmp_path / "out", "out")
    with pytest.raises(artifact.ArtifactError, match="nothing in"):
        pack(root, tmp_path / "out", ".", "*.js")
    with pytest.raises(artifact.ArtifactError, match="more than 1 bytes"):
        pack(root, tmp_path / "out", ".", "d/b", bytes_max=1)
    make(root, *(f"many/{number}" for number in range(11)))
    with pytest.raises(artifact.ArtifactError, match="or 10 files"):
        pack(root, tmp_path / "out2", "many")


def test_a_file_that_is_too_large_is_refused_before_it_is_packed(tmp_path: Path) -> None:
    """A sparse file of a terabyte is told by its size, not read: nothing is written."""
    root = tmp_path / "root"
    make(root, "a")
    with (root / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(artifact.ArtifactError, match="more than 10000 bytes"):
        pack(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert pack(root, tmp_path / "out", ".", "a") == ["a"], "it is left out, so it does not count"


def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    """Endless output neither fills the disk nor hides the last words."""
    log = BuildLog(tmp_path / "log", PipelineSettings(log_bytes_max=100, log_tail_bytes=50))
    for number in range(1000):
        log.write(b"%04d\n" % number)
    assert log.tail(20).endswith("0999\n")
    log.close()
    text = (tmp_path / "log").read_text()
    assert text.startswith("0000\n0001\n")
    assert text.endswith("0998\n0999\n")
    assert "4850 bytes are left out here" in text
    assert len(text) < 300
