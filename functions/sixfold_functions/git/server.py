"""Git smart HTTP: advertisement, fetch and push, each one call of git's own program (`service.py`).

Source: git's `gitprotocol-http`, section "Smart Clients", and `http-backend.c`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from sixfold import errors
from sixfold_functions.git import client, protocol, service
from sixfold_functions.git.settings import GitSettings
from sixfold_functions.git.sweep import Sweep

log = structlog.get_logger()
LATE = (
    "sixfold: the refs have moved, but git.pushed is not in the log yet; it comes as soon as the log takes it, "
    "so what follows a push (a pipeline) starts late"
)


class GitServer:
    """Serves the repositories of one data folder."""

    def __init__(self, repositories: client.GitRepositories, sweep: Sweep, settings: GitSettings) -> None:
        self.repositories = repositories
        self.sweep = sweep
        self.settings = settings
        self._fetches = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(settings.fetches_max))
        self._pushes = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(settings.pushes_max))

    async def info_refs(self, request: Request) -> Response:
        """`GET …/info/refs?service=…`: what the server has and can do."""
        name, path = self._repository(request)
        wanted = request.query_params.get("service", "")
        if wanted not in ("git-upload-pack", "git-receive-pack"):
            raise service.RequestError(403, f"expected ?service=git-upload-pack or git-receive-pack, found {wanted!r}")
        kind: service.Service = "git-upload-pack" if wanted == "git-upload-pack" else "git-receive-pack"
        version = request.headers.get("git-protocol", "")
        async with (
            self._turn(self._fetches[name]),
            service.Child.of(kind, path, self.settings, "--advertise-refs", protocol=version) as child,
        ):
            child.stdin.close()
            # The list of refs is whole in memory: 100,000 refs are about 7 MB.
            body = b"".join([chunk async for chunk in child.output()])
            if await child.ended() != 0:
                raise service.RequestError(500, f"git could not read repository '{name}'; the gateway's log says why")
        if kind == "git-receive-pack" or not body.startswith(b"000eversion 2"):
            body = protocol.packet(f"# service={wanted}\n".encode()) + protocol.FLUSH + body
        headers = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
        return Response(body, media_type=f"application/x-{wanted}-advertisement", headers=headers)

    async def upload_pack(self, request: Request) -> Response:
        """`POST …/git-upload-pack`: a fetch or a clone."""
        return _Call(self, "git-upload-pack", *self._repository(request), request)

    async def receive_pack(self, request: Request) -> Response:
        """`POST …/git-receive-pack`: a push."""
        return _Call(self, "git-receive-pack", *self._repository(request), request)

    def _repository(self, request: Request) -> tuple[str, Path]:
        name = request.path_params["repository"].removesuffix(".git")
        try:
            return name, self.repositories.path(name)
        except client.GitError as error:
            raise service.RequestError(404, str(error)) from None

    @contextlib.asynccontextmanager
    async def _turn(self, semaphore: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.settings.wait_timeout_s):
                await semaphore.acquire()
        except TimeoutError:
            raise service.RequestError(503, "this repository is busy; try again in a few seconds") from None
        try:
            yield
        finally:
            semaphore.release()

    async def fetch(self, name: str, path: Path, body: service.Body, answer: service.Answer, version: str) -> None:
        """Stream a fetch; a client that leaves stops it."""
        async with (
            self._turn(self._fetches[name]),
            service.Child.of("git-upload-pack", path, self.settings, protocol=version) as child,
        ):

            async def feed() -> None:
                await _feed(child, body)
                await body.until_gone()
                raise service.ClientGoneError

            async with _beside(feed(), child) as feeding:
                async for chunk in child.output():
                    await answer.write(chunk)
                if feeding.done():
                    await feeding
            await answer.end()

    async def push(
        self, name: str, path: Path, body: service.Body, answer: service.Answer, version: str, pusher: str
    ) -> None:
        """Stream a push; hold its report until its events are in the log."""
        commands = protocol.PushCommands(self.settings.commands_bytes_max)
        gate = protocol.ReportGate(self.settings.commands_bytes_max)
        try:
            async with (
                self._turn(self._pushes[name]),
                service.Child.of("git-receive-pack", path, self.settings, protocol=version, pusher=pusher) as child,
                # A client that leaves in the middle stops it: git drops what it quarantined, no ref has moved.
                _beside(_feed(child, body, commands), child) as feeding,
            ):
                async for chunk in child.output():
                    gate.side_band = commands.side_band
                    if passing := gate.feed(chunk):
                        await answer.write(passing)
                await child.ended()
                await feeding
        except BaseException:
            # Git needs no end of the body and no reader of its report to move refs: whatever broke off, they may have.
            if commands.refs:
                self.sweep.late(name)
            raise
        published = await self.sweep.publish(name, commands.refs)
        await answer.write(gate.release() if published else gate.refuse(LATE))
        await answer.end()


async def _feed(child: service.Child, body: service.Body, commands: protocol.PushCommands | None = None) -> None:
    """The whole body into the child. What it does not want any more is read all the same, and dropped."""
    wanted = True
    async for chunk in body:
        if commands is not None:
            commands.feed(chunk)
        if wanted:
            try:
                await child.take(chunk)
            except (BrokenPipeError, ConnectionResetError):
                wanted = False
    child.stdin.close()


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None], child: service.Child) -> AsyncIterator[asyncio.Task[None]]:
    """`work` as a task beside the block, ended with it. Where it fails the child is stopped, so the block ends too."""

    async def guarded() -> None:
        try:
            await work
        except BaseException:
            child.kill()
            raise

    task = asyncio.create_task(guarded())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


class _Call(Response):
    """A fetch or push as a response that reads and writes at once, which Starlette's own cannot."""

    def __init__(self, server: GitServer, kind: service.Service, name: str, path: Path, request: Request) -> None:
        super().__init__()
        self._server = server
        self._kind: service.Service = kind
        self._name = name
        self._path = path
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings, headers = self._server.settings, self._request.headers
        answer = service.Answer(send, f"application/x-{self._kind}-result")
        version = headers.get("git-protocol", "")
        pushing = self._kind == "git-receive-pack"
        # What comes before the pack is the list of refs, which has a limit of its own.
        limit = settings.pack_bytes_max + settings.commands_bytes_max if pushing else settings.fetch_request_bytes_max
        try:
            if headers.get("content-type") != f"application/x-{self._kind}-request":
                raise service.RequestError(415, f"expected Content-Type application/x-{self._kind}-request")
            body = service.Body(receive, headers.get("content-encoding", ""), limit, settings.idle_timeout_s)
            async with asyncio.timeout(settings.call_timeout_s):
                if pushing:
                    pusher = _who(scope)
                    await self._server.push(self._name, self._path, body, answer, version, pusher)
                else:
                    await self._server.fetch(self._name, self._path, body, answer, version)
        except service.RequestError as error:
            await answer.fail(error.status, str(error))
        except protocol.ProtocolError as error:
            await answer.fail(400, str(error))
        except TimeoutError:
            await answer.fail(504, f"the call took more than {settings.call_timeout_s:.0f} s and was stopped")
        except service.ClientGoneError:
            log.info("client left", action="git.client_left", repository=self._name, service=self._kind)


def _who(scope: Scope) -> str:
    principal = scope.get("principal")
    return f"{principal.kind}:{principal.name}" if principal is not None else ""


def refused(error: errors.SixfoldError) -> Response:
    """A refusal as git shows it: plain text, the reason after `remote:`."""
    status = error.status if isinstance(error, service.RequestError) else 500
    return PlainTextResponse(f"{error}\n", status_code=status)
