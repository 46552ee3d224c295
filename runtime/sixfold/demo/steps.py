"""What the demonstration shows, a step at a time; each ends with a proof that a stranger could repeat.

A step gets the `Demo`, tells its progress through `say`, and returns its line of the summary: what was seen, and where
to look further. It raises `StepError` where what it promises does not hold.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from sixfold.demo import keys, watching
from sixfold.demo.shell import Shell, StepError

Say = Callable[[str], None]

REPOSITORY = "sixfold"
INSTANCES = 3
RECORDS = 10_000
DOWN_ZONE = "c"


class Seen(NamedTuple):
    """A step's line of the summary."""

    what: str
    look: str
    """A command or a path that shows more."""


@dataclass
class Demo:
    """One run of the demonstration."""

    shell: Shell
    port: int = 0
    commit: str = ""
    execution: str = ""
    services: dict[str, int] = field(default_factory=dict)
    """Process ids of the deployed web service, by instance."""


class Step(NamedTuple):
    """One thing to show."""

    title: str
    run: Callable[[Demo, Say], Awaitable[Seen]]


async def start(demo: Demo, say: Say) -> Seen:
    """Start the whole system."""
    say("starting every process")
    await demo.shell.start(demo.port)
    status = await demo.shell.call("status")
    return Seen(f"{len(status['processes'])} processes on {demo.shell.bus_url}", "sixfold status")


async def push(demo: Demo, say: Say) -> Seen:
    """Push this repository with its whole history by git."""
    shell = demo.shell
    if (await shell.git("rev-parse", "--is-shallow-repository")).strip() == "true":
        raise StepError(f"{shell.repository} is a shallow clone, so it has no whole history to push; clone it in full")
    demo.commit = (await shell.git("rev-parse", "HEAD")).strip()
    commits = (await shell.git("rev-list", "--count", "HEAD")).strip()
    created = await shell.call("git", "create", REPOSITORY)
    url = created["clone_url"]
    origin = url.rpartition("/git/")[0]
    helper = "!" + " ".join(f"'{word}'" for word in (*shell.sixfold, "git", "credential"))
    say(f"git push {url}")
    await shell.git(
        *("-c", "credential.helper=", "-c", f"credential.{origin}.helper={helper}"),
        *("push", "--quiet", url, "HEAD:refs/heads/main"),
    )
    landed = await shell.call("git", "log", REPOSITORY, "main", "-n", "1")
    if landed[0]["commit"] != demo.commit:
        raise StepError(f"pushed {demo.commit}, but the repository's main is at {landed[0]['commit']}")
    return Seen(f"{commits} commits, main is {demo.commit[:12]}", f"sixfold git log {REPOSITORY} main")


async def pipeline(demo: Demo, say: Say) -> Seen:
    """See the pipeline that the push started through its stages."""
    outcome = await watching.outcome_of(demo.shell, demo.commit, say, timeout_s=120)
    demo.execution = outcome.execution
    if outcome.failure:
        raise StepError(
            f"execution {outcome.execution} failed: {outcome.failure}; see `sixfold pipeline logs {outcome.execution}`"
        )
    return Seen(f"stages {', '.join(outcome.stages)} succeeded", f"sixfold pipeline show {outcome.execution}")


async def deployment(demo: Demo, say: Say) -> Seen:
    """Ask the deployed web service on every instance which version it is."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        for number in range(1, INSTANCES + 1):
            instance = f"i-{number}"
            state = demo.shell.data_dir / "deploy" / "instances" / instance / "root" / "run" / "web.json"
            say(f"asking {instance}")
            try:
                process = json.loads(await asyncio.to_thread(state.read_text))
                answer = (await client.get(f"http://127.0.0.1:{process['port']}/version")).json()
            except (OSError, ValueError, httpx.HTTPError) as error:
                raise StepError(
                    f"the web service on {instance} does not answer ({error}); see {state.parent}"
                ) from None
            demo.services[instance] = process["pid"]
            if answer["revision"] != demo.commit:
                raise StepError(f"{instance} answers revision {answer['revision']}, expected {demo.commit}")
    return Seen(f"revision {demo.commit[:12]} answers on {', '.join(demo.services)}", "sixfold deploy list")


async def volume(demo: Demo, say: Say) -> Seen:
    """Append records while a zone is down, bring it back, and read all of them."""
    shell = demo.shell
    say(f"stopping zone {DOWN_ZONE}")
    await shell.call("volume", "stop", DOWN_ZONE)
    say(f"appending {RECORDS:,} records")
    await shell.call("volume", "append", "--count", str(RECORDS), "--size", "300")
    say(f"starting zone {DOWN_ZONE}")
    await shell.call("volume", "start", DOWN_ZONE)
    say("waiting until all six copies hold every record")
    durable = await watching.caught_up(shell, timeout_s=60)
    if durable < RECORDS:
        raise StepError(f"the durable LSN is {durable}, expected at least {RECORDS}")
    return Seen(
        f"{RECORDS:,} records durable with zone {DOWN_ZONE} down, six copies equal again", "sixfold volume status"
    )


async def data_key(demo: Demo, say: Say) -> Seen:
    """Issue a data key against role claims, and open its ciphertext again."""
    return Seen(await keys.issue_and_open(demo.shell, say), "sixfold audit tail")


STEPS = (
    Step("Start the system", start),
    Step("Push this repository", push),
    Step("Run its pipeline", pipeline),
    Step("Ask the deployed service", deployment),
    Step("Write while a zone is down", volume),
    Step("Issue and open a data key", data_key),
)


async def clean_up(demo: Demo) -> None:
    """Stop the deployed service and the system; what they wrote stays to look at."""
    for instance in demo.services:
        root = demo.shell.data_dir / "deploy" / "instances" / instance / "root"
        scripts = sorted(_scripts(demo.shell.data_dir / "deploy" / "instances" / instance))
        if scripts:
            await demo.shell.run("sh", str(scripts[-1]), env={"INSTANCE_ROOT": str(root)})
    await demo.shell.stop()


def _scripts(instance: Path) -> list[Path]:
    return list(instance.glob("deployment-root/*/*/deployment-archive/scripts/stop.sh"))
