"""`python -m bench.volume.peers.etcd_client PORT CLIENTS`: coroutines that put and await, until killed.

No Protocol Buffers' own library: the request is the same bytes each time, and the answer is not looked into. So it is
the fastest that Python's gRPC can do.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop

KEY, VALUE = b"bench", b"r" * 300
REQUEST = b"\x0a" + bytes([len(KEY)]) + KEY + b"\x12\xac\x02" + VALUE


async def main(port: int, clients: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        put = channel.unary_unary("/etcdserverpb.KV/Put")

        async def client() -> None:
            while True:
                await put(REQUEST)

        await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
