"""The agent as a process of the system: made ready in the data folder by `sixfold up`, which runs on this machine."""

from __future__ import annotations

from pathlib import Path

from sixfold import system
from sixfold.errors import UsageError
from sixfold.gateway import credentials
from sixfold.process import Process
from sixfold_functions.deploy import signing
from sixfold_functions.deploy.agent import agent
from sixfold_functions.deploy.agent.settings import Settings

GROUP = "production"


def folder_of(data_dir: Path, instance: str) -> Path:
    """Folder of an instance that runs on this machine."""
    return data_dir / "deploy" / "instances" / instance


def settings_of(data_dir: Path, instance: str, group: str) -> Settings:
    """Settings of an instance on this machine; makes its credential where there is none."""
    return Settings(
        instance=instance,
        group=group,
        folder=folder_of(data_dir, instance),
        credential=credentials.create(data_dir, kind="agent", name=instance),
        public_key=signing.ensure(data_dir),
        gateway=str(data_dir / system.GATEWAY_FILE),
    )


async def run(process: Process) -> None:
    """Be the agent of `--instance` in `--group` (`production` unless told otherwise)."""
    options = process.options
    if "instance" not in options:
        raise UsageError("deploy.agent needs --instance NAME (and takes --group GROUP)")
    settings = settings_of(process.data_dir, options["instance"], options.get("group", GROUP))
    await agent.run(settings, process.stopping, ready=process.ready, clock=process.clock)
