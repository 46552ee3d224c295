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


async def answering(bootstrap: str, timeout_s: float) -> str:
    """Those of the named brokers (`host:port[,host:port…]`) that take a connection as soon as the first one does.

    All of them where one is named, or none answers in time.
    """
    named = [each.strip() for each in bootstrap.split(",") if each.strip()]
    if len(named) < 2:
        return bootstrap
    asked = {asyncio.create_task(_reached(each)): each for each in named}
    pending, found = set(asked), list[str]()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    try:
        while pending and not found and loop.time() < deadline:
            done, pending = await asyncio.wait(
                pending, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            found += [asked[task] for task in done if task.exception() is None]
        if found and pending:
            done, _ = await asyncio.wait(pending, timeout=GRACE_S)
            found += [asked[task] for task in done if task.exception() is None]
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return ",".join(found) or bootstrap


async def _reached(named: str) -> None:
    host, port, _ = conn.get_ip_port_afi(named)
    address = await _address(host, port)
    _, writer = await asyncio.open_connection(address, port)
    writer.close()


async def _address(host: str, port: int) -> str:
    """As `getaddrinfo` finds it, in a thread that nobody waits for: the loop's own would keep the process from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def settle(outcome: str | OSError) -> None:
        if found.done():
            return
        if isinstance(outcome, OSError):
            found.set_exception(outcome)
        else:
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
    return await found
