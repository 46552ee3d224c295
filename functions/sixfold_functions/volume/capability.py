"""How the volume capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability, Service
from sixfold_functions.volume.core import layout

capability = Capability(
    name="volume",
    summary="A volume of six copies with a write quorum of four",
    functions=("sixfold_functions.volume.handler",),
    events=("sixfold_events.volume",),
    topics="sixfold_functions.volume.topics:DEFAULT_SPECS",
    commands="sixfold_functions.volume.commands:app",
    services=(
        Service(
            name="volume.storage",
            run="sixfold_functions.volume.storage:run",
            summary="One copy of the volume",
            options=("volume", "copy"),
            settings=("kms-key", "kms-role", "kms-token-file", "gateway-url", "scrub-mb-per-s"),
            instances=tuple({"copy": copy} for copy in layout.COPIES),
            current="sixfold_functions.volume.groups.plans:current_copies",
        ),
        Service(
            name="volume.writer",
            run="sixfold_functions.volume.requests:run",
            summary="The volume's one writer, for everyone who appends through the log",
            options=("volume",),
            current="sixfold_functions.volume.groups.plans:current_writers",
        ),
        Service(
            name="volume.replica",
            run="sixfold_functions.volume.following:run",
            summary="A read replica that keeps nothing: it shows how far replicas are behind",
            options=("replica", "volume"),
            instances=(),
        ),
        Service(
            name="volume.backup",
            run="sixfold_functions.volume.backup.service:run",
            summary="Keeps the volume's backup up to date, in a folder or an object store",
            options=("volume", "to", "retention-days"),
        ),
    ),
)
