"""Functions whose handlers run in processes of their own: they must be found by name, so they live in a module."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

from sixfold import Batch, BatchContext, Context, Event, PermanentError, Retry, TemporaryError, function


class Job(Event, topic="cpu.jobs", key="number"):
    number: int
    kind: str = ""


class Done(Event, topic="cpu.done", key="number"):
    number: int
    pid: int


class OddError(Exception):
    """Cannot be pickled: it wants two arguments."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what + why)


@function(on=Job, emits=[Done], cpu_bound=True, ordering="key", concurrency=2, timeout_s=3, retry=Retry(attempts_max=2))
def work(job: Job, ctx: Context) -> None:
    """Do as the job says."""
    if job.kind == "stuck":
        time.sleep(60)
    if job.kind == "bad":
        raise PermanentError("bad job")
    if job.kind == "odd":
        raise OddError("odd", "ly")
    if job.kind == "crash" and ctx.attempt == 1:
        os._exit(9)
    if job.kind == "later":
        ctx.schedule(timedelta(hours=-1), Done(number=job.number, pid=0))
    sys.stdout.write("what a handler prints must not disturb anybody\n")
    ctx.emit(Done(number=job.number, pid=os.getpid()))


@function(on=Job, emits=[Done], cpu_bound=True, batch=Batch(size=4, window_s=0), retry=Retry(attempts_max=2))
def many(jobs: list[Job], ctx: BatchContext) -> None:
    """Do several jobs at once."""
    for index, job in enumerate(jobs):
        if job.kind == "bad":
            ctx.fail(index, PermanentError("bad job"))
        if job.kind == "once" and ctx.attempt == 1:
            ctx.fail(index, TemporaryError("once"))
        ctx[index].emit(Done(number=job.number, pid=os.getpid()))


@function(on=Job, cpu_bound=True)
def undeclared(job: Job, ctx: Context) -> None:
    """Emit what is not declared."""
    ctx.emit(Done(number=1, pid=1))
