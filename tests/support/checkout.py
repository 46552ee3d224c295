"""A working copy to push: the web service of examples/05 with the project's own pipeline, in real git."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = Path("examples") / "05-web-service"


class Checkout:
    """A repository of two commits in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service = folder / SERVICE

    async def make(self) -> Checkout:
        """Make it."""
        shutil.copytree(ROOT / SERVICE, self.service, ignore=shutil.ignore_patterns("__pycache__", "REVISION"))
        await self.git("init", "--quiet", "--initial-branch", "main")
        await self.commit("A web service")
        shutil.copy(ROOT / "pipeline.yaml", self.folder)
        await self.commit("Its pipeline")
        return self

    async def git(self, *words: str) -> str:
        """What git prints; nothing of the user's own configuration has a say."""
        who = {"NAME": "Ada", "EMAIL": "ada@example.com"}
        env = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }
        env |= {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in who.items()}
        process = await asyncio.create_subprocess_exec(
            *("git", "-C", str(self.folder), *words),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, problems = await process.communicate()
        assert process.returncode == 0, f"git {shlex.join(words)}: {problems.decode()}"
        return out.decode().strip()

    async def commit(self, subject: str) -> str:
        """Commit everything; the commit."""
        await self.git("add", "--all")
        await self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return await self.git("rev-parse", "HEAD")

    async def push(self, data_dir: Path, url: str) -> None:
        """Push to `main` with the credential of the system on `data_dir`, as its users do."""
        helper = shlex.join([sys.executable, "-m", "sixfold", "--data-dir", str(data_dir), "git", "credential"])
        await self.git(
            "-c", "credential.helper=", "-c", f"credential.helper=!{helper}", "push", url, "HEAD:refs/heads/main"
        )

    def break_script(self, name: str, instance: str, code: int) -> None:
        """Let one of the service's scripts fail on one instance."""
        script = self.service / "scripts" / name
        failing = f'[ "$INSTANCE_ID" != {instance} ] || {{ echo "no good here" >&2; exit {code}; }}\n'
        script.write_text(script.read_text().replace("set -eu\n", f"set -eu\n{failing}", 1))
