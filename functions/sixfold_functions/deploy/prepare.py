"""Looking at a request before any instance is touched: names, artifact, AppSpec. What is wrong becomes one sentence."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from sixfold import document, objects
from sixfold_events.deploy import DeploymentRequested
from sixfold_functions.deploy import archive

_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9.@_:-]{1,200}")


async def problem_of(request: DeploymentRequested, store: objects.Objects) -> str:
    """Why `request` cannot be carried out, empty where it can. What another attempt may mend is raised instead."""
    for what, text in (("application", request.application), ("group", request.group)):
        if not _NAME.fullmatch(text):
            return f"{what} {text[:120]!r}: expected 1 to 100 letters, digits and any of . @ _ -"
    for what, text in (("deployment id", request.deployment_id), ("revision", request.revision)):
        if not _IDENTIFIER.fullmatch(text):
            return f"{what} {text[:220]!r}: expected 1 to 200 letters, digits and any of . @ _ : -"
    try:
        if await store.size(request.artifact) > archive.DOWNLOAD_BYTES_MAX:
            return f"artifact {request.artifact} is larger than {archive.DOWNLOAD_BYTES_MAX} bytes"
        with tempfile.TemporaryDirectory(prefix="sixfold-deploy-") as folder:
            path = Path(folder) / "bundle.tar.gz"
            await store.save(request.artifact, path)
            await asyncio.to_thread(archive.inspect, path, request.appspec)
    except (objects.ObjectNotFoundError, objects.CorruptObjectError, archive.ArchiveError) as error:
        return f"artifact {request.artifact}: {error}"
    except document.DocumentError as error:
        return str(error)
    return ""
