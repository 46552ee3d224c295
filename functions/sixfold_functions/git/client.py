"""The published face of the git room: repositories in the data folder, read and made without the server.

Reading is dulwich's, one opened repository per call (its objects are not to be shared between threads); working
copies are made by git itself, which knows every trap of paths, links and modes.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from dulwich.errors import NotTreeError
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.repo import Repo

from sixfold import errors, objects
from sixfold.process import Process
from sixfold_functions.git import core, environment
from sixfold_functions.git.settings import GitSettings

_OID = re.compile(r"[0-9a-f]{40}")
GIT_TIMEOUT_S = 600.0
"""For one git command of our own; a checkout of a large tree takes minutes on a slow disk."""


class GitError(errors.SixfoldError):
    """Base of the git room's errors."""


class RepositoryNameError(GitError, errors.UsageError):
    """The name cannot be a repository's."""


class RepositoryNotFoundError(GitError, errors.UsageError):
    """No repository has this name."""


class RepositoryExistsError(GitError, errors.UsageError):
    """The name is taken."""


class RevisionNotFoundError(GitError, errors.UsageError):
    """No commit, branch or tag of this name is in the repository."""


class FileNotInCommitError(GitError):
    """The commit has no file at this path, or one that is larger than was asked for (`too_large`)."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class GitCommandError(GitError):
    """A git command of our own failed; the message has its words."""


class CommitInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A commit as listings show it."""

    commit: str
    author: str
    authored_at_ms: int
    subject: str
    parents: list[str]


class GitRepositories:
    """The repositories of one data folder, each `git/<name>.git`."""

    def __init__(self, data_dir: Path, settings: GitSettings | None = None) -> None:
        self.folder = data_dir.absolute() / "git"
        self.settings = settings or GitSettings()

    def path(self, name: str) -> Path:
        """Folder of an existing repository. Raises RepositoryNameError or RepositoryNotFoundError."""
        path = self._path(name)
        if not (path / "HEAD").is_file():
            raise RepositoryNotFoundError(
                f"repository '{name}' does not exist; create it with: sixfold git create {name}"
            )
        return path

    def _path(self, name: str) -> Path:
        problem = core.name_problem(name)
        if problem:
            raise RepositoryNameError(problem)
        return self.folder / f"{name}.git"

    def names(self) -> list[str]:
        """Every repository's name, sorted."""
        return sorted(path.parent.name.removesuffix(".git") for path in self.folder.glob("[!.]*.git/HEAD"))

    async def create(self, name: str, *, branch: str = "main", fast_forward_only: bool = False) -> Path:
        """Make an empty repository, whole or not at all; its folder. Raises RepositoryExistsError.

        `fast_forward_only` refuses pushes that would drop commits from a branch, and deletions.
        """
        target = self._path(name)
        exists = RepositoryExistsError(
            f"repository '{name}' exists already in {self.folder}; push to it, or choose another name"
        )
        if await asyncio.to_thread(target.exists):
            raise exists
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".creating-", dir=self.folder))
        try:
            await git("init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", str(partial))
            values = environment.configuration(target, self.settings)
            # A call by the server sets the rest itself; these also hold for who works in the folder by hand.
            kept = {key: value for key, value in values.items() if key.startswith(("core.log", "core.fsync", "gc."))}
            if fast_forward_only:
                kept |= {"receive.denyNonFastForwards": "true", "receive.denyDeletes": "true"}
            try:
                await asyncio.to_thread(_finish, partial, target, kept)
            except OSError:
                if await asyncio.to_thread(target.exists):
                    raise exists from None
                raise
            await asyncio.to_thread(objects.sync_folder, self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target

    def refs(self, name: str) -> dict[str, str]:
        """Every ref with its value, without HEAD."""
        with Repo(str(self.path(name))) as repo:
            return {ref.decode(): oid.decode() for ref, oid in repo.get_refs().items() if ref != b"HEAD"}

    def resolve(self, name: str, revision: str) -> str:
        """The commit that a branch, tag, full ref, `HEAD` or 40 hex digits name. Raises RevisionNotFoundError."""
        with Repo(str(self.path(name))) as repo:
            return _commit(repo, name, revision).id.decode()

    def log(self, name: str, revision: str = "HEAD", *, entries_max: int = 50) -> list[CommitInfo]:
        """The newest commits reachable from `revision`, newest first; none in an empty repository."""
        with Repo(str(self.path(name))) as repo:
            if revision == "HEAD" and not repo.get_refs():
                return []
            start = _commit(repo, name, revision)
            entries = repo.get_walker(include=[start.id], max_entries=entries_max)
            return [_info(entry.commit) for entry in entries]

    def file(self, name: str, commit: str, path: str, *, bytes_max: int = 1 << 20) -> bytes:
        """A file's content at a commit. Raises FileNotInCommitError, also where it is larger than `bytes_max`."""
        with Repo(str(self.path(name))) as repo:
            where = f"{path!r} at {commit[:12]} of repository '{name}'"
            try:
                tree = repo[_commit(repo, name, commit).tree]
                assert isinstance(tree, Tree)
                _, oid = tree.lookup_path(repo.__getitem__, path.encode())
                blob = repo[oid]
            except (KeyError, NotTreeError):
                raise FileNotInCommitError(f"there is no {where}") from None
            if not isinstance(blob, Blob):
                raise FileNotInCommitError(f"{where} is a folder, expected a file")
            if blob.raw_length() > bytes_max:
                raise FileNotInCommitError(
                    f"{where} has {blob.raw_length()} bytes, at most {bytes_max} are read", too_large=True
                )
            return blob.as_raw_string()

    async def checkout(self, name: str, commit: str, target: Path) -> None:
        """Make `target` (not there yet) a working copy of exactly `commit`, detached, sharing the objects.

        The commit need not be on a branch any more. Submodules are not fetched. Raises GitCommandError.
        """
        source = self.path(name)
        if not _OID.fullmatch(commit):
            raise RevisionNotFoundError(f"{commit!r} is no commit; expected 40 hex digits")
        safe = environment.as_environment(
            {"safe.directory": "*", "core.hooksPath": os.devnull, "advice.detachedHead": "false"}
        )
        await git("clone", "--quiet", "--shared", "--no-checkout", str(source), str(target), extra=safe)
        await git("-C", str(target), "checkout", "--quiet", "--detach", commit, extra=safe)


def open_repositories(process: Process) -> GitRepositories:
    """The system's repositories: `await ctx.resource(client.open_repositories)` in a handler."""
    return GitRepositories(process.data_dir)


def _finish(partial: Path, target: Path, values: dict[str, str]) -> None:
    with (partial / "config").open("a") as file:
        for key, value in values.items():
            section, _, name = key.rpartition(".")
            file.write(f"[{section}]\n\t{name} = {value}\n")
    partial.rename(target)


def _commit(repo: Repo, name: str, revision: str) -> Commit:
    text = revision.encode(errors="surrogateescape")
    for candidate in (b"refs/heads/" + text, b"refs/tags/" + text, text):
        try:
            found = repo[candidate] if candidate != text or len(text) == 40 or b"/" in text or text == b"HEAD" else None
        except (KeyError, ValueError):
            continue
        while isinstance(found, Tag):
            found = repo[ObjectID(found.object[1])]
        if isinstance(found, Commit):
            return found
    raise RevisionNotFoundError(
        f"repository '{name}' has no commit, branch or tag {revision!r}; `sixfold git list --json` shows its refs"
    )


def _info(commit: Commit) -> CommitInfo:
    return CommitInfo(
        commit=commit.id.decode(),
        author=commit.author.decode(errors="replace"),
        authored_at_ms=int(commit.author_time) * 1000,
        subject=commit.message.decode(errors="replace").strip().partition("\n")[0],
        parents=[parent.decode() for parent in commit.parents],
    )


async def git(*arguments: str, extra: dict[str, str] | None = None, timeout_s: float = GIT_TIMEOUT_S) -> str:
    """Run a git command of our own in the allow-listed environment; what it prints. Raises GitCommandError."""
    environment.version()
    child = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment.plain(**(extra or {})),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await child.communicate()
    except TimeoutError:
        raise GitCommandError(
            f"git {_words(arguments)} took more than {timeout_s:.0f} s; is the disk full or slow?"
        ) from None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    if child.returncode:
        words = complaint.decode(errors="replace").strip()[-2000:]
        raise GitCommandError(f"git {_words(arguments)} ended with exit code {child.returncode}: {words}")
    return output.decode(errors="replace")


def _words(arguments: Sequence[str]) -> str:
    return " ".join(arguments)
