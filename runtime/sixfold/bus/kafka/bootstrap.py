"""Which brokers to begin with, where several are named: those that take a connection at once.

aiokafka asks one after another, in any order. A broker whose machine is gone may cost it all the time there is: its
packets are dropped, or, in container networks, nobody knows its name any more and the name servers take seconds to say
so. Whoever starts while a zone is lost must not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from aiokafka import conn

GRACE_S = 0.05
"""How much later than the first one another broker may answer: one alone might take connections and do no more."""
NAMES_S = 11.0
"""How long names may take to be found while no broker answers yet: resolv.conf(5) has five seconds to an attempt and two of
them, and the name server of a container network may keep everybody waiting while it asks others for a name that is gone."""


async def answering(bootstrap: str, timeout_s: float, names_s: float = NAMES_S) -> str:
    """Those of the named brokers (`host:port[,host:port…]`) that take a connection as soon as the first one does.

    All of them where one is named, or none answers: in `timeout_s`, of which none is taken for finding its address, which
    has `names_s`.
    """
    named = [each.strip() for each in bootstrap.split(",") if each.strip()]
    if len(named) < 2:
        return bootstrap
    asked = {asyncio.create_task(reach(each, timeout_s, names_s)): each for each in named}
    pending, found = set(asked), list[str]()
    try:
        while pending and not found:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            found += [asked[task] for task in done if task.exception() is None]
        if found and pending:
            done, _ = await asyncio.wait(pending, timeout=GRACE_S)
            found += [asked[task] for task in done if task.exception() is None]
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return ",".join(found) or bootstrap


async def reach(named: str, timeout_s: float, names_s: float) -> None:
    """Connect to `host:port`, once its address is found. Raises OSError, and TimeoutError after either time."""
    host, port, _ = conn.get_ip_port_afi(named)
    async with asyncio.timeout(names_s):
        address = await _address(host, port)
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(address, port)
    writer.close()


async def _address(host: str, port: int) -> str:
    """As `getaddrinfo` finds it, in a thread that nobody waits for: the loop's own would keep the process from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str | OSError] = loop.create_future()

    def settle(outcome: str | OSError) -> None:
        if not found.done():  # nobody waits any more
            found.set_result(outcome)

    def look() -> None:
        outcome: str | OSError
        try:
            outcome = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=look, name=f"look up {host}", daemon=True).start()
    outcome = await found
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
