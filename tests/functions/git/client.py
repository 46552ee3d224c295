"""The real git, with a folder as its home and the gateway's credential from the real credential helper."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HELPER = Path(__file__).with_name("helper.py")


class GitFailedError(AssertionError):
    """git ended with another exit code than 0; its words are the message."""


@dataclass(frozen=True)
class Git:
    """Runs git commands below `home`."""

    home: Path
    data_dir: Path
    helper: bool = False
    """Let git ask the credential helper; else it is given the credential at once, which is faster."""

    def _credential(self) -> str:
        if self.helper:
            return f"credential.helper=!{sys.executable} {HELPER} {self.data_dir}"
        token = self.data_dir / "credentials" / "bootstrap.token"
        text = f"sixfold:{token.read_text().strip()}" if token.exists() else "sixfold:none"
        return f"http.extraHeader=Authorization: Basic {base64.b64encode(text.encode()).decode()}"

    async def __call__(self, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """What it prints (both streams). Raises GitFailedError."""
        child = await asyncio.create_subprocess_exec(
            "git",
            *("-c", self._credential()),
            *arguments,
            cwd=cwd or self.home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_AUTHOR_NAME": "Ada",
                "GIT_AUTHOR_EMAIL": "ada@example.org",
                "GIT_COMMITTER_NAME": "Ada",
                "GIT_COMMITTER_EMAIL": "ada@example.org",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "LC_ALL": "C",
                **(env or {}),
            },
        )
        output, _ = await child.communicate()
        text = output.decode(errors="replace")
        if child.returncode:
            raise GitFailedError(f"git {' '.join(arguments)}: exit code {child.returncode}\n{text}")
        return text

    async def working_copy(self, name: str, remote: str | None = None) -> Path:
        """A new working copy with one commit."""
        folder = self.home / name
        await self("init", "--quiet", "--initial-branch=main", str(folder))
        await self.commit(folder, "README.md", f"# {name}\n")
        if remote:
            await self("remote", "add", "origin", remote, cwd=folder)
        return folder

    async def commit(self, folder: Path, path: str, content: str | bytes, message: str = "Change it") -> str:
        """Write a file and commit it; the commit's id."""
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        await self("add", "-A", cwd=folder)
        await self("commit", "--quiet", "-m", message, cwd=folder)
        return (await self("rev-parse", "HEAD", cwd=folder)).strip()
