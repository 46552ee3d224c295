"""The registry in the log: what a gateway wrote another one knows, two that write at once lose nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from typing import Any

import hypothesis
from hypothesis import strategies
from tests.functions.registry import serving
from tests.functions.registry.serving import posted
from tests.support import buses

from sixfold_events import Event
from sixfold_events.subjects import SchemaStored, SubjectChanged
from sixfold_functions.registry import core
from sixfold_functions.registry.refusal import RefusedError
from sixfold_functions.registry.state import State


def schema(name: str, *fields: str) -> dict[str, Any]:
    made = [{"name": each, "type": "string", "default": ""} for each in fields]
    return {"type": "record", "name": name, "fields": made}


async def test_a_gateway_that_starts_again_knows_everything(place: buses.Place) -> None:
    """Schemas, versions, deletions and settings are read from the log, on either bus."""
    subject, name = f"again-{uuid.uuid4().hex}", f"R{uuid.uuid4().hex}"
    async with serving.served(place) as first:
        ids = [(await first.register(subject, schema(name, *"abc"[:count])))["id"] for count in (1, 2, 3)]
        await first.ask("DELETE", f"/subjects/{subject}/versions/2")
        await first.ask("PUT", f"/config/{subject}", {"compatibility": "FORWARD"})
    async with serving.served(place) as second:
        assert await second.ask("GET", f"/subjects/{subject}/versions") == [1, 3]
        assert await second.ask("GET", f"/config/{subject}") == {"compatibilityLevel": "FORWARD"}
        for identifier in ids:
            assert (await second.ask("GET", f"/schemas/ids/{identifier}"))["id"] == identifier
        assert (await second.register(subject, schema(name, *"abc")))["version"] == 3


async def test_two_gateways_at_once_give_each_schema_a_version_of_its_own(place: buses.Place) -> None:
    """Whoever was second decides again; every answer stays true, and both read the same."""
    subject, name = f"race-{uuid.uuid4().hex}", f"R{uuid.uuid4().hex}"
    async with serving.served(place) as one, serving.served(place) as two:
        await one.ask("PUT", f"/config/{subject}", {"compatibility": "NONE"})
        answers = await asyncio.gather(
            *((one, two)[number % 2].register(subject, schema(name, f"field_{number}")) for number in range(12))
        )
        assert sorted(each["version"] for each in answers) == list(range(1, 13))
        for served in (one, two):
            for each in answers:
                found = await served.ask("GET", f"/subjects/{subject}/versions/{each['version']}")
                assert found["id"] == each["id"]


SUBJECTS = ("a", "b")
TEXTS = [schema("R", *names) for names in ("", "x", "xy", "xyz")]


@dataclasses.dataclass
class Log:
    """Records by offset; a cleaner leaves gaps."""

    records: list[Event | None] = dataclasses.field(default_factory=list)

    def compact(self) -> None:
        """Keep the newest record of each key."""
        newest = {entry_of(event): index for index, event in enumerate(self.records) if event is not None}
        kept = set(newest.values())
        self.records = [event if index in kept else None for index, event in enumerate(self.records)]


@dataclasses.dataclass
class Gateway:
    """A gateway as far as the core goes: its fold, and what it is about to write."""

    log: Log
    state: State = dataclasses.field(default_factory=State)
    offset: int = 0
    subject: str = ""
    sent: core.Posted | None = None
    wants: tuple[Event, ...] = ()

    def catch_up(self) -> None:
        """Read what is new."""
        for event in self.log.records[self.offset :]:
            if event is not None:
                self.state.apply(event)
        self.offset = len(self.log.records)

    def read(self) -> None:
        """As `Store.read`."""
        self.catch_up()
        self.log.records.extend(self.state.shadowed.values())
        self.catch_up()

    def decide(self) -> None:
        """Register on what was read so far, which others may have changed meanwhile."""
        assert self.sent is not None
        self.state.rejected.clear()
        try:
            self.wants = core.register(self.state, self.subject, self.sent, len(self.log.records)).events
        except RefusedError:
            self.wants = ()

    def append(self) -> tuple[Event, ...]:
        """The first half of a write."""
        mine, self.wants = self.wants, ()
        self.log.records.extend([*self.state.shadowed.values(), *mine])
        return mine

    def write(self) -> SubjectChanged | None:
        """As `Store.write`: what was promised."""
        while self.wants:
            mine = self.append()
            self.catch_up()
            if not any(event in self.state.rejected for event in mine):
                assert isinstance(mine[-1], SubjectChanged)
                return mine[-1]
            self.decide()
        return None


def entry_of(event: Event) -> str:
    """The record's key."""
    assert isinstance(event, SchemaStored | SubjectChanged)
    return event.entry


STEP = strategies.tuples(
    strategies.sampled_from(["decide", "decide", "write", "write", "die", "compact"]),
    strategies.integers(0, 1),
    strategies.sampled_from(SUBJECTS),
    strategies.sampled_from(TEXTS),
)


@hypothesis.given(steps=strategies.lists(STEP, max_size=40))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_promise_is_lost_however_gateways_interleave_and_die_and_the_log_is_compacted(
    steps: list[tuple[str, int, str, Any]],
) -> None:
    """Every version that was answered is there, with its schema, for whoever reads the log from its start."""
    log = Log()
    gateways = [Gateway(log), Gateway(log)]
    promised: dict[tuple[str, int], int] = {}
    for verb, number, subject, text in steps:
        gateway = gateways[number]
        if verb == "decide" and not gateway.wants:
            gateway.read()
            gateway.subject, gateway.sent = subject, core.posted(posted(text))
            gateway.decide()
        elif verb == "write":
            done = gateway.write()
            if done is not None:
                promised |= {(done.subject, each.version): each.schema_id for each in done.versions}
        elif verb == "die":
            gateway.append()  # what it wrote last, nobody was told of
            gateways[number] = Gateway(log)
        elif verb == "compact":
            gateway.read()  # a cleaner comes minutes after a record, a gateway's next request before it
            log.compact()
    gateways.append(Gateway(log))
    for gateway in gateways:
        gateway.read()
        for (subject, version), schema_id in promised.items():
            found = {each.version: each.schema_id for each in gateway.state.versions(subject)}
            assert found[version] == schema_id
            assert gateway.state.schema(schema_id) is not None
