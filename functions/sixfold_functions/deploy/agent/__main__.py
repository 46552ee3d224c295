"""`python -m sixfold_functions.deploy.agent`: the agent on a machine that has nothing else of the system."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from sixfold.errors import SixfoldError
from sixfold_functions.deploy.agent import agent
from sixfold_functions.deploy.agent.settings import Settings


def main() -> int:
    """Run until TERM or INT; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sixfold_functions.deploy.agent", description=__doc__)
    parser.add_argument("--instance", required=True, help="name of this instance")
    parser.add_argument("--group", required=True, help="deployment group that it belongs to")
    parser.add_argument("--gateway", required=True, help="URL of the gateway, or path of the system's gateway.json")
    parser.add_argument("--folder", required=True, type=Path, help="the agent's own folder")
    parser.add_argument("--credential", required=True, type=Path, help="file with the agent's token")
    parser.add_argument("--public-key", required=True, type=Path, help="the system's signing.pub")
    given = parser.parse_args()
    settings = Settings(
        instance=given.instance,
        group=given.group,
        folder=given.folder,
        credential=given.credential,
        public_key=given.public_key,
        gateway=given.gateway,
    )
    try:
        uvloop.run(_run(settings))
    except SixfoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def ready() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    await agent.run(settings, stopping, ready=ready)


if __name__ == "__main__":
    sys.exit(main())
