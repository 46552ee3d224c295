"""The Git room's routes on the gateway: smart HTTP below `/git/<name>`, and making and listing repositories.

Source of the paths: git's `gitprotocol-http`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixfold import errors
from sixfold.gateway import Gateway, Route
from sixfold.gateway.route import Endpoint
from sixfold_functions.git import client, server
from sixfold_functions.git.publication import Publication
from sixfold_functions.git.settings import GitSettings
from sixfold_functions.git.sweep import Sweep

BODY_BYTES_MAX = 64 * 1024


class NewRepository(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /git`."""

    name: str
    branch: str = "main"
    fast_forward_only: bool = False


def routes(gateway: Gateway, settings: GitSettings | None = None) -> Sequence[Route]:
    """The routes; the sweep starts before the first request and ends after the last."""
    process, limits = gateway.process, settings or GitSettings()
    repositories = client.GitRepositories(process.data_dir, limits)
    publication = Publication(repositories, process.require_bus(), process.clock)
    sweep = Sweep(repositories, publication, process.clock)
    git = server.GitServer(repositories, sweep, limits)
    running: list[asyncio.Task[None]] = []

    async def start() -> None:
        running.append(asyncio.create_task(sweep.run(), name="git.sweep"))

    async def stop() -> None:
        for task in running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    gateway.on_start.append(start)
    gateway.on_stop.append(stop)

    async def create(request: Request) -> Response:
        try:
            new = msgspec.json.decode(await request.body(), type=NewRepository)
            await repositories.create(new.name, branch=new.branch, fast_forward_only=new.fast_forward_only)
        except msgspec.DecodeError as error:
            return JSONResponse({"error": f'expected JSON such as {{"name": "web"}}: {error}'}, status_code=400)
        except client.RepositoryExistsError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        except client.GitError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"name": new.name, "clone_url": f"{gateway.url}/git/{new.name}"}, status_code=201)

    async def listing(_: Request) -> Response:
        names = await asyncio.to_thread(repositories.names)
        return JSONResponse([{"name": name, "clone_url": f"{gateway.url}/git/{name}"} for name in names])

    # Fetches and pushes are streamed and have limits of their own (`settings.py`).
    return [
        Route(path="/git", endpoint=listing),
        Route(path="/git", endpoint=create, methods=("POST",), body_bytes_max=BODY_BYTES_MAX),
        Route(path="/git/{repository}/info/refs", endpoint=_told(git.info_refs)),
        *(
            Route(
                path=f"/git/{{repository}}/git-{service}",
                endpoint=_told(endpoint),
                methods=("POST",),
                body_bytes_max=None,
            )
            for service, endpoint in (("upload-pack", git.upload_pack), ("receive-pack", git.receive_pack))
        ),
    ]


def _told(endpoint: Endpoint) -> Endpoint:
    """`endpoint` with its refusals as text that git shows."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except errors.SixfoldError as error:
            return server.refused(error)

    return answer
