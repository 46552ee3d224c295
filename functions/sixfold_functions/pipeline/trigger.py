"""From a push to the execution that it asks for: reads the definition at exactly the pushed commit."""

from __future__ import annotations

import hashlib

import msgspec

from sixfold_events.git import GitPushed
from sixfold_events.pipeline import PipelineTriggered
from sixfold_functions.git import client as git
from sixfold_functions.pipeline import definition
from sixfold_functions.pipeline.model import Definition


def execution_id(pipeline: str, push_id: str) -> str:
    """The execution that a push starts: the same for every delivery of its event."""
    return f"{pipeline}-{hashlib.blake2b(push_id.encode(), digest_size=8).hexdigest()}"


def of(push: GitPushed, push_id: str, repositories: git.GitRepositories, now_ms: int) -> PipelineTriggered | None:
    """The trigger of a push to a branch; None where the commit has no pipeline, or one for other branches.

    A definition that cannot be used is a trigger with its problem: it is for the pusher to see, not for a worker to
    die of.
    """
    found: Definition | None = None
    problem = ""
    try:
        text = repositories.file(push.repository, push.new, definition.FILE)
        found = definition.parse(text)
    except git.FileNotInCommitError as error:
        if not error.too_large:
            return None
        problem = f"{definition.FILE}:1: {error}"
    except git.RepositoryNotFoundError:
        return None  # deleted since
    except (git.GitError, definition.DocumentError) as error:
        problem = str(error)
    if found is not None and not definition.wants(found, push.ref):
        return None
    return PipelineTriggered(
        pipeline=push.repository,
        execution=execution_id(push.repository, push_id),
        name=found.name if found else "",
        repository=push.repository,
        ref=push.ref,
        commit=push.new,
        pusher=push.pusher,
        definition=msgspec.json.encode(found).decode() if found else "",
        problem=problem,
        triggered_at_ms=now_ms,
    )
