"""Parameters and results of operations as JSON, as AWS's API has them; read and checked by its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sixfold.gateway.aws import constraints, models, reading, writing
from sixfold.gateway.aws.faults import Fault
from sixfold_functions.kms.deciding import Refused

SERVICE = "kms"


def parameters(operation: str, body: bytes) -> dict[str, Any]:
    """What a request's JSON says; nothing where it has none. Raises Refused."""
    model = models.service(SERVICE)
    if not body or operation not in model.operation_names:
        return {}
    shape = model.operation_model(operation).input_shape
    try:
        found = reading.json(shape, body)
        constraints.check(shape, found)
    except Fault as fault:
        raise Refused(fault.code, fault.message) from fault
    return found


def encoded(operation: str, given: Mapping[str, Any]) -> bytes:
    """Parameters as `parameters` reads them."""
    return writing.json(models.service(SERVICE).operation_model(operation).input_shape, given)


def result(operation: str, given: Mapping[str, Any]) -> bytes:
    """A result as `outcome` reads it."""
    model = models.service(SERVICE)
    if operation not in model.operation_names:
        return b""
    return writing.json(model.operation_model(operation).output_shape, given)


def outcome(operation: str, body: bytes) -> dict[str, Any]:
    """The result in an answer."""
    return reading.json(models.service(SERVICE).operation_model(operation).output_shape, body)
