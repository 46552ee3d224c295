"""A data folder with a repository, pushed to by the real git, and the room's functions as a process to be killed.

`python -m tests.functions.pipeline.world DATA_DIR` runs the functions until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.functions.git.client import Git

from sixfold import running
from sixfold.bus import opening, port
from sixfold.clock import SystemClock
from sixfold.process import Process
from sixfold_events import deploy, git, pipeline
from sixfold_events.registry import Registry
from sixfold_functions.git.client import GitRepositories
from sixfold_functions.git.publication import Publication
from sixfold_functions.pipeline import handler
from sixfold_functions.pipeline.topics import TOPICS

ROOT = Path(__file__).parents[3]
FUNCTIONS = (handler.source, handler.advance, handler.build, handler.deployed)
EVENTS = tuple(
    value
    for module in (git, pipeline, deploy)
    for value in vars(module).values()
    if isinstance(value, type) and value.__module__ == module.__name__
)
GIT_TOPIC = port.TopicSpec(name="git.pushed")

YAML = """\
version: 1
name: web
stages:
  - name: build
    actions:
      - name: build
        category: Build
        commands:
{commands}
        timeout_s: {timeout_s}
        artifact: {{base_directory: dist}}
  - name: deploy
    actions:
      - {{name: deploy, category: Deploy, application: web, group: production}}
"""


def yaml(*commands: str, timeout_s: int = 60) -> str:
    """A pipeline of a build with these commands and a deployment."""
    return YAML.format(commands="\n".join(f"          - '{command}'" for command in commands), timeout_s=timeout_s)


@dataclass
class World:
    """A data folder with the repository `web`, and a working copy of it."""

    data_dir: Path
    git: Git
    folder: Path
    bus: port.Bus

    async def push(self, text: str, branch: str = "main", **files: str) -> str:
        """Commit `text` as pipeline.yaml, push it, and let the log know; the commit."""
        for name, content in files.items():
            (self.folder / name).write_text(content)
        commit = await self.git.commit(self.folder, "pipeline.yaml", text)
        await self.git("push", "--quiet", "origin", f"HEAD:{branch}", cwd=self.folder)
        await Publication(GitRepositories(self.data_dir), self.bus, SystemClock()).sweep()
        return commit


async def world(tmp_path: Path, data_dir: Path, bus: port.Bus) -> World:
    """A new one."""
    home = tmp_path / "home"
    home.mkdir()
    path = await GitRepositories(data_dir).create("web")
    client = Git(home, data_dir)
    return World(data_dir, client, await client.working_copy("work", str(path)), bus)


async def main(data_dir: Path) -> None:
    async with opening.open_bus(data_dir=data_dir) as bus:
        process = Process(name="functions", data_dir=data_dir, registry=Registry(EVENTS), bus=bus)
        await running.run_functions(process, FUNCTIONS, stopping=process.stopping, topics=[*TOPICS, GIT_TOPIC])


@contextlib.asynccontextmanager
async def functions(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The room's functions as a process of their own."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.functions.pipeline.world", str(data_dir)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
