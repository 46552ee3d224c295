"""Key management on the gateway: AWS KMS."""

from __future__ import annotations

from collections.abc import Sequence

from sixfold.gateway import Gateway, Route
from sixfold_functions.kms.service import KeyService


def routes(gateway: Gateway) -> Sequence[Route]:
    """No paths of its own; adds what AWS's clients may call."""
    service = KeyService(gateway.process)
    gateway.on_stop.append(service.close)
    gateway.aws.append(service.service())
    return []
