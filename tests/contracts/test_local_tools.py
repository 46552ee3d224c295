"""Recording, replaying, shadowing and invoking from the log do the same on both buses, and leave no trace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.support import buses, naming
from tests.support.waiting import eventually

from sixfold import Context, Event, Function, function, running
from sixfold.bus import port
from sixfold.local import differences
from sixfold.local.capturing import capture, sources_of
from sixfold.local.invoking import invoke_from
from sixfold.local.replaying import replay
from sixfold.local.shadowing import Shadow
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.registry import Registry


def declared(names: naming.Names, *, factor: int = 1) -> tuple[type[Event], Function[..., Any]]:
    """An event type and a version of a function with a table, under names that are this test's own."""

    class Given(Event, topic=names("given"), key="who"):
        who: str
        cents: int

    class Added(Event, topic=names("added"), key="who"):
        who: str
        cents: int

    @function(on=Given, emits=[Added], name=names("adding"), tables=["sums"])
    async def adding(event: Given, ctx: Context) -> None:
        table = ctx.table("sums")
        total = await table.get(event.who, 0) + event.cents * factor
        table.put(event.who, total)
        ctx.emit(Added(who=event.who, cents=total))

    return Given, adding


@contextlib.asynccontextmanager
async def runs(bus: port.Bus, place: buses.Place, each: Function[..., Any]) -> AsyncIterator[Process]:
    """The function at work."""
    registry = Registry([*each.on, *each.emits])
    process = Process(name="test", data_dir=place.data_dir, registry=registry, bus=bus)
    task = asyncio.create_task(running.run_functions(process, [each], stopping=process.stopping))
    try:
        yield process
    finally:
        process.stopping.set()
        await task
        await process.resources.close()


async def test_local_tools_see_what_a_function_did_and_change_nothing(
    bus: port.Bus, place: buses.Place, names: naming.Names
) -> None:
    """The same version comes to the same, another one differs, and the bus holds what it held before."""
    given, adding = declared(names)
    _, doubling = declared(names, factor=2)
    async with runs(bus, place, adding) as process:
        publisher = Publisher(bus, source="/test")
        await eventually(lambda: sources_of(bus, adding), "its topics are made")
        make: Any = given

        async def handled() -> bool:
            return not any((await bus.lag(adding.name, adding.topics)).values())

        async def own() -> set[str]:
            return {name for name in await bus.topics() if names("") in name}

        await publisher.publish(*(make(who=f"k{n % 3}", cents=n) for n in range(9)))
        await eventually(handled, "all are handled")
        topics = await own()

        found = await capture(process, adding, dict.fromkeys(await sources_of(bus, adding), 0))
        assert (len(found.records), len(found.outputs)) == (9, 9)
        for each, same in ((adding, True), (doubling, False)):
            registry = Registry([*each.on, *each.emits])
            told, compared = differences.with_recorded(found, await replay(found, each, registry), registry)
            assert (told == [], compared) == (same, 9)

        outcomes = await invoke_from(adding, [record.read() for record in found.records[:1]], process=process)
        emitted = {dict(output.headers)["ce_id"] for output in found.outputs}
        assert [each["id"].encode() in emitted for each in outcomes[0].outputs] == [True]

        for each, differing in ((adding, 0), (doubling, 1)):
            began = asyncio.Event()
            shadow = Shadow(each, adding, process, identifier="t", begins=began.set)
            task = asyncio.create_task(shadow.run(asyncio.Event(), count=1))
            await asyncio.wait([task, asyncio.create_task(began.wait())], return_when=asyncio.FIRST_COMPLETED)
            await publisher.publish(make(who="k0", cents=1))
            assert (await task).differing == differing
            assert await bus.committed(shadow.group) == {}
        assert await own() == topics
