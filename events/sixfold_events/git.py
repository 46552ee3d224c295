"""Events of the git room: what became of the refs of a repository."""

from __future__ import annotations

from sixfold_events.event import Event

NO_COMMIT = "0" * 40
"""Stands for "no commit" in `old` (the ref was created) and in `new` (it was deleted), as in git's own protocol."""


class GitPushed(Event, key="repository"):
    """A ref of a repository moved. In the log before the push is acknowledged; one event for each ref and move."""

    repository: str
    """Name of the repository, such as `web`."""
    ref: str
    """Full name of the ref, such as `refs/heads/main`."""
    old: str
    """Commit before, 40 hex digits; zeros where the ref is new."""
    new: str
    """Commit after, 40 hex digits; zeros where the ref was deleted."""
    pusher: str
    """Principal that pushed, such as `operator:bootstrap`; empty where nobody is known."""
    pushed_at_ms: int
    """When the ref moved, Unix milliseconds (git's own log has whole seconds)."""
