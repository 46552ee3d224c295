"""What the demonstration shows, a step at a time; each ends with a proof that a stranger could repeat.

A step gets the `Demo`, tells its progress through `say`, and returns its line of the summary: what was seen, and where
to look further. It raises `StepError` where what it promises does not hold.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from sixfold import clock as clocks
from sixfold.bus import TopicPartition
from sixfold.demo import keys, place, watching
from sixfold.demo.shell import Shell, StepError

Say = Callable[[str], None]

REPOSITORY = "sixfold"
INSTANCES = 3
RECORDS = 10_000
DOWN_ZONE = "c"
PIPELINE_S = 120.0


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
    clock: clocks.Clock = field(default_factory=clocks.SystemClock)
    run: str = ""
    """Ends the names of what this run makes, where an earlier one on the same data has taken the plain ones."""
    repository: str = ""
    commit: str = ""
    before_push: dict[TopicPartition, int] = field(default_factory=dict)
    """Where the pipeline's topic ended before the push."""


class Step(NamedTuple):
    """One thing to show."""

    title: str
    run: Callable[[Demo, Say], Awaitable[Seen]]


async def start(demo: Demo, say: Say) -> Seen:
    """Start the whole system."""
    shell = demo.shell
    say(f"making {shell.data_dir} ready")
    goes_on = await place.prepare(shell.data_dir, shell.bus_url, demo.clock)
    say("starting every process")
    await shell.start(demo.port)
    status = await shell.call("status")
    again = ", on what an earlier run left" if goes_on else ""
    return Seen(f"{len(status['processes'])} processes on {shell.bus_url}{again}", "sixfold status")


async def push(demo: Demo, say: Say) -> Seen:
    """Push this repository with its whole history by git."""
    shell = demo.shell
    if (await shell.git("rev-parse", "--is-shallow-repository")).strip() == "true":
        raise StepError(f"{shell.repository} is a shallow clone, so it has no whole history to push; clone it in full")
    demo.commit = (await shell.git("rev-parse", "HEAD")).strip()
    await shell.git("cat-file", "-e", "HEAD:pipeline.yaml")
    commits = (await shell.git("rev-list", "--count", "HEAD")).strip()
    taken = {each["name"] for each in await shell.call("git", "list")}
    runs = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    demo.run = next(run for run in runs if f"{REPOSITORY}{run}" not in taken)
    demo.repository = f"{REPOSITORY}{demo.run}"
    created = await shell.call("git", "create", demo.repository)
    url = created["clone_url"]
    origin = url.rpartition("/git/")[0]
    helper = "!" + shlex.join((*shell.sixfold, "git", "credential"))
    demo.before_push = await watching.ends(shell)
    say(f"git push {url}")
    await shell.git(
        *("-c", "credential.helper=", "-c", f"credential.{origin}.helper={helper}"),
        *("push", "--quiet", url, "HEAD:refs/heads/main"),
    )
    landed = await shell.call("git", "log", demo.repository, "main", "-n", "1")
    if landed[0]["commit"] != demo.commit:
        raise StepError(f"pushed {demo.commit}, but the repository's main is at {landed[0]['commit']}")
    return Seen(f"{commits} commits, main is {demo.commit[:12]}", f"sixfold git log {demo.repository} main")


async def pipeline(demo: Demo, say: Say) -> Seen:
    """See the pipeline that the push started through its stages."""
    push = watching.Push(demo.repository, demo.commit, demo.before_push)
    outcome = await watching.outcome_of(demo.shell, push, say, timeout_s=PIPELINE_S)
    if outcome.failure:
        raise StepError(
            f"execution {outcome.execution} failed: {outcome.failure}; its logs are below {demo.shell.data_dir}/pipeline"
        )
    return Seen(f"stages {', '.join(outcome.stages)} succeeded", f"sixfold pipeline show {outcome.execution}")


async def deployment(demo: Demo, say: Say) -> Seen:
    """Ask the deployed web service on every instance which version it is."""
    instances = [f"i-{number}" for number in range(1, INSTANCES + 1)]
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        for instance in instances:
            state = demo.shell.data_dir / "deploy" / "instances" / instance / "root" / "run" / "web.json"
            say(f"asking {instance}")
            try:
                process = json.loads(await asyncio.to_thread(state.read_text))
                answer = (await client.get(f"http://127.0.0.1:{process['port']}/version")).json()
            except (OSError, ValueError, httpx.HTTPError) as error:
                raise StepError(
                    f"the web service on {instance} does not answer ({error}); see {state.parent}"
                ) from None
            if answer["revision"] != demo.commit:
                raise StepError(f"{instance} answers revision {answer['revision']}, expected {demo.commit}")
    return Seen(f"revision {demo.commit[:12]} answers on {', '.join(instances)}", "sixfold deploy list")


async def volume(demo: Demo, say: Say) -> Seen:
    """Append records while a zone is down, bring it back, and read all of them."""
    shell = demo.shell
    say(f"stopping zone {DOWN_ZONE}")
    await shell.call("volume", "stop", DOWN_ZONE)
    say(f"appending {RECORDS:,} records")
    appended = await shell.call("volume", "append", "--count", str(RECORDS), "--size", "300")
    say(f"starting zone {DOWN_ZONE}")
    await shell.call("volume", "start", DOWN_ZONE)
    say("waiting until all six copies hold every record")
    await watching.caught_up(shell, appended["last_lsn"], timeout_s=60)
    say(f"reading them from {DOWN_ZONE}1, which was down")
    found = await shell.call(
        *("volume", "read", "--from", str(appended["first_lsn"]), "--count", str(RECORDS), "--copy", f"{DOWN_ZONE}1")
    )
    if len(found["records"]) != RECORDS:
        raise StepError(f"copy {DOWN_ZONE}1 gave {len(found['records'])} of the {RECORDS} records")
    return Seen(
        f"{RECORDS:,} records durable with zone {DOWN_ZONE} down, then all in its copies too", "sixfold volume status"
    )


async def data_key(demo: Demo, say: Say) -> Seen:
    """Issue a data key against role claims, and open its ciphertext again."""
    return Seen(await keys.issue_and_open(demo.shell, demo.run, say), "sixfold audit tail")


STEPS = (
    Step("Start the system", start),
    Step("Push this repository", push),
    Step("Run its pipeline", pipeline),
    Step("Ask the deployed service", deployment),
    Step("Write while a zone is down", volume),
    Step("Issue and open a data key", data_key),
)
