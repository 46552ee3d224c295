"""`python -m bench.volume.peers.mariadb_client SOCKET DATABASE STATEMENT CLIENTS`: connections that insert, until killed."""

from __future__ import annotations

import asyncio
import sys

import asyncmy
import uvloop


async def main(socket: str, database: str, statement: str, clients: int) -> None:
    async def client() -> None:
        connection = await asyncmy.connect(unix_socket=socket, user="root", db=database, autocommit=True)
        cursor = connection.cursor()
        while True:
            await cursor.execute(statement)

    await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
