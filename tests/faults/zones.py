"""Network zones: each a namespace of its own, with one link to where the broker and the clients are."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence

from sixfold_functions.volume.core import layout

HUB = "10.11.0.1"
"""Where the broker listens, on every side of the links."""
_NUMBER = {zone: number for number, zone in enumerate(layout.ZONES, 1)}


def ip(*words: str, inside: int | None = None) -> None:
    """`ip …`, in the namespace of process `inside` or here. Raises CalledProcessError with what it said."""
    enter = [] if inside is None else ["nsenter", f"--net=/proc/{inside}/ns/net"]
    subprocess.run([*enter, "ip", *words], check=True, capture_output=True, text=True)


class Zones:
    """The zones' namespaces, which live as long as a process of each; in a cell they all end with it."""

    def __init__(self) -> None:
        self._holders: dict[str, asyncio.subprocess.Process] = {}

    async def open(self) -> None:
        """Make them, and their links."""
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{HUB}/32", "dev", "lo")
        for zone, number in _NUMBER.items():
            holder = await asyncio.create_subprocess_exec(
                "unshare", "--net", "sh", "-c", "echo made; read forever", stdin=-1, stdout=-1
            )
            assert holder.stdout is not None
            await holder.stdout.readline()
            self._holders[zone] = holder
            ip("link", "add", "name", f"zone-{zone}", "type", "veth", "peer", "name", "hub", "netns", str(holder.pid))
            ip("address", "add", f"10.11.{number}.1/30", "dev", f"zone-{zone}")
            ip("link", "set", f"zone-{zone}", "up")
            ip("link", "set", "lo", "up", inside=holder.pid)
            ip("address", "add", f"10.11.{number}.2/30", "dev", "hub", inside=holder.pid)
            ip("link", "set", "hub", "up", inside=holder.pid)
            ip("route", "add", "default", "via", f"10.11.{number}.1", inside=holder.pid)

    def enter(self, zone: str) -> Sequence[str]:
        """What to put before a command that is to run there."""
        return ("nsenter", f"--net=/proc/{self._holders[zone].pid}/ns/net", "--")

    def cut(self, zone: str) -> None:
        """Nothing goes in or out any more; connections stay as they are, and nobody is told."""
        ip("link", "set", f"zone-{zone}", "down")

    def join(self, zone: str) -> None:
        """The link is back."""
        ip("link", "set", f"zone-{zone}", "up")

    async def close(self) -> None:
        """End the holders."""
        for holder in self._holders.values():
            assert holder.stdin is not None
            holder.stdin.close()
            await holder.wait()
