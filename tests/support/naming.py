"""Names of topics and groups that no other test, and no other run, uses."""

from __future__ import annotations

import asyncio
import uuid

from tests.support import buses

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import settings as kafka_settings
from sixfold.bus.kafka import topics


class Names:
    """Called with a word gives a name with it; the same name for the same word within one test."""

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex[:12]

    def __call__(self, word: str) -> str:
        return f"{word}-{self._token}"

    async def delete_all(self, place: buses.Place) -> None:
        """Delete what was made on a cluster under these names, tables included."""
        settings = kafka_settings.KafkaSettings()
        admin = topics.TopicAdmin(place.url.removeprefix("kafka://"), clocks.SystemClock(), settings)
        await admin.open()
        try:
            made = [name for name in await admin.describe(None) if self._token in name]
            await asyncio.gather(*(admin.delete(name) for name in made))
        except port.UnknownTopicError:
            pass  # the test was deleting it, too
        finally:
            await admin.close()
