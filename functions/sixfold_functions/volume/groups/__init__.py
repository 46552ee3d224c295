"""Volumes that are spread over several protection groups: what programs import.

plan = await create(bus, registry, Plan(volume="orders", groups=2), clock=clock)
async with await open_writer(bus, registry=registry, name="me", volume="orders") as writer:
    done = await writer.append([b"hello"])
"""

from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups.client import GroupedClient
from sixfold_functions.volume.groups.pages import GroupedPageVolume
from sixfold_functions.volume.groups.plans import create, find, open_client, open_replica, open_writer
from sixfold_functions.volume.groups.replica import GroupedReplica
from sixfold_functions.volume.groups.writer import GroupedWriter

__all__ = [
    "GroupedClient",
    "GroupedPageVolume",
    "GroupedReplica",
    "GroupedWriter",
    "Plan",
    "create",
    "find",
    "open_client",
    "open_replica",
    "open_writer",
]
