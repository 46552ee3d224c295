"""The agent's only way out: HTTP to the gateway with its credential."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import msgspec

from sixfold.errors import SixfoldError, UsageError
from sixfold_functions.deploy import archive, wire
from sixfold_functions.deploy.agent.settings import Settings

_ANSWER_S = 15.0
"""Beyond what the gateway was asked to wait."""


class UnreachableError(SixfoldError):
    """The gateway does not answer, or cannot serve just now; trying again may help."""


class RefusedError(SixfoldError):
    """The gateway understood and said no; trying again does not help."""


class Connection:
    """Calls to the gateway. Every method raises UnreachableError or RefusedError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def commands(self, after: int, wait_s: float) -> list[wire.Envelope]:
        """Commands after position `after`; waits up to `wait_s` for one."""
        response = await self._call(
            "GET",
            f"/deploy/agents/{self._settings.instance}/commands",
            params={"group": self._settings.group, "after": str(after), "wait": f"{wait_s:g}"},
            timeout=httpx.Timeout(_ANSWER_S, read=wait_s + _ANSWER_S),
        )
        try:
            return msgspec.json.decode(response.content, type=wire.Commands).commands
        except msgspec.DecodeError as error:
            raise UnreachableError(f"the gateway's answer is not understood: {error}") from error

    async def report(self, report: bytes) -> None:
        """Hand over a report (a wire.Report as JSON)."""
        await self._call("POST", f"/deploy/agents/{self._settings.instance}/reports", content=report)

    async def download(self, digest: str, target: Path) -> None:
        """Write the artifact `digest` to `target`, whole and with the right content, or not at all."""
        partial = target.with_name(f"{target.name}.partial")
        hasher, size = hashlib.sha256(), 0
        try:
            client = await self._opened()
            async with client.stream("GET", f"/deploy/artifacts/{digest}") as response:
                if response.status_code != 200:
                    await response.aread()
                    _check(response)
                with partial.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        size += len(chunk)
                        if size > archive.DOWNLOAD_BYTES_MAX:
                            raise RefusedError(
                                f"the artifact is larger than {archive.DOWNLOAD_BYTES_MAX} bytes; make it smaller"
                            )
                        hasher.update(chunk)
                        file.write(chunk)
        except (httpx.TransportError, httpx.StreamError) as error:
            await self.close()
            raise UnreachableError(f"the download broke off: {error or type(error).__name__}") from error
        if hasher.hexdigest() != digest:
            raise UnreachableError(f"the download has the digest {hasher.hexdigest()}, expected {digest}")
        partial.replace(target)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Response:
        client = await self._opened()
        try:
            response = await client.request(
                method, path, params=params, content=content, timeout=timeout or httpx.Timeout(_ANSWER_S)
            )
        except httpx.TransportError as error:
            # The gateway may have come up elsewhere: the next call reads its address again.
            await self.close()
            raise UnreachableError(f"the gateway does not answer: {error or type(error).__name__}") from error
        _check(response)
        return response

    async def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                url, token = self._settings.gateway_url(), self._settings.credential.read_text().strip()
            except (UsageError, OSError) as error:
                raise UnreachableError(str(error)) from error
            self._client = httpx.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=_ANSWER_S,
                trust_env=False,
            )
        return self._client


def _check(response: httpx.Response) -> None:
    if response.status_code < 300:
        return
    said = f"the gateway answered {response.status_code}: {response.text[:300]}"
    # 401 too may pass: the credential's record may be made after the agent was started.
    if response.status_code in (401, 408, 429) or response.status_code >= 500:
        raise UnreachableError(said)
    raise RefusedError(said)
