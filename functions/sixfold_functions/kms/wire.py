"""Parameters and results of operations as JSON, as AWS's API has them; read and checked by its model.

AWS's models are imported when the first is needed: that takes a tenth of a second, which every process of a system would
pay at its start, since each knows all functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sixfold_functions.kms.deciding import Refused

if TYPE_CHECKING:
    from botocore.model import OperationModel

SERVICE = "kms"


def _operation(name: str) -> OperationModel | None:
    from sixfold.gateway.aws import models

    model = models.service(SERVICE)
    return model.operation_model(name) if name in model.operation_names else None


def parameters(operation: str, body: bytes) -> dict[str, Any]:
    """What a request's JSON says; nothing where it has none. Raises Refused."""
    if not body:
        return {}
    from sixfold.gateway.aws import constraints, faults, reading

    model = _operation(operation)
    shape = None if model is None else model.input_shape
    try:
        found = reading.json(shape, body)
        constraints.check(shape, found)
    except faults.Fault as fault:
        raise Refused(fault.code, fault.message) from fault
    return found


def encoded(operation: str, given: Mapping[str, Any]) -> bytes:
    """Parameters as `parameters` reads them."""
    from sixfold.gateway.aws import writing

    model = _operation(operation)
    return b"" if model is None else writing.json(model.input_shape, given)


def result(operation: str, given: Mapping[str, Any]) -> bytes:
    """A result as `outcome` reads it."""
    from sixfold.gateway.aws import writing

    model = _operation(operation)
    return b"" if model is None else writing.json(model.output_shape, given)


def outcome(operation: str, body: bytes) -> dict[str, Any]:
    """The result in an answer."""
    from sixfold.gateway.aws import reading

    model = _operation(operation)
    return {} if model is None else reading.json(model.output_shape, body)
