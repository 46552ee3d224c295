"""The function that is killed: `sixfold run bench/runtime/restarting.py`. It says when it handled which record."""

from __future__ import annotations

import asyncio
import json
import os
import time

from bench.runtime import load
from bench.runtime.job import SAY_EVERY
from sixfold import App, Context, function

load.direct(os.environ["SIXFOLD_BENCH_TOPIC"])
handled = 0


@function(on=load.Reading, name=os.environ["SIXFOLD_BENCH_GROUP"])
async def slow(event: load.Reading, ctx: Context) -> None:
    """Take a millisecond; say so for the first record and for each fiftieth."""
    global handled
    await asyncio.sleep(0.001)
    if handled % SAY_EVERY == 0:
        print(json.dumps({"handled": handled, "at_s": time.monotonic()}), flush=True)
    handled += 1


app = App("restarting", functions=(slow,))
