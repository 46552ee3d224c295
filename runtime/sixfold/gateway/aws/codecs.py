"""Wire formats of AWS's protocols: what a request says, and how an answer looks. Another format joins as another codec.

The JSON protocol names the operation in `X-Amz-Target`, the query protocol in the form (`Action`, `Version`).
Sources: Smithy's awsJson1_1 and awsQuery protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from botocore.model import OperationModel, ServiceModel

from sixfold.gateway.aws import reading, writing
from sixfold.gateway.aws.faults import Fault
from sixfold.gateway.aws.models import Address

FORM = "application/x-www-form-urlencoded"


class Asked(NamedTuple):
    """What a request says before its parameters are read."""

    address: Address
    operation: str
    content: Any
    """What the codec reads the parameters from."""


class Codec(Protocol):
    """One wire format. Nothing of it does I/O."""

    media_type: str
    """Of its answers."""
    invalid: str
    """Code of the error that says which parameters do not keep within the model."""
    unsigned: str
    """Code of the error of a call without a credential."""
    unknown: str
    """Code of the error of an operation that there is not."""

    def asked(self, headers: Mapping[str, str], body: bytes) -> Asked | None:
        """What the request asks for, None where it is of another format. Raises Fault where it cannot be read."""
        ...

    def parameters(self, operation: OperationModel, content: Any) -> dict[str, Any]:
        """The operation's parameters. Raises Fault."""
        ...

    def answer(self, operation: OperationModel, result: Mapping[str, Any], request_id: str) -> bytes:
        """The body of an answer."""
        ...

    def fault(self, fault: Fault, model: ServiceModel | None, status: int, request_id: str) -> bytes:
        """The body of an error; `model` is None where no service was found."""
        ...


class Json11:
    """AWS JSON 1.1."""

    media_type = "application/x-amz-json-1.1"
    invalid = "ValidationException"
    unsigned = "MissingAuthenticationTokenException"
    unknown = "UnknownOperationException"

    def asked(self, headers: Mapping[str, str], body: bytes) -> Asked | None:
        """See `Codec`."""
        target = headers.get("x-amz-target")
        if target is None:
            return None
        prefix, _, operation = target.rpartition(".")
        return Asked(Address("json", prefix), operation, body)

    def parameters(self, operation: OperationModel, content: Any) -> dict[str, Any]:
        """See `Codec`."""
        return reading.json(operation.input_shape, content)

    def answer(self, operation: OperationModel, result: Mapping[str, Any], request_id: str) -> bytes:
        """See `Codec`. An operation without output answers nothing, as AWS does."""
        return b"" if operation.output_shape is None else writing.json(operation.output_shape, result)

    def fault(self, fault: Fault, model: ServiceModel | None, status: int, request_id: str) -> bytes:
        """See `Codec`."""
        return writing.json_fault(fault, model)


class Query:
    """The query protocol: a form in, XML out. It takes what no other codec does."""

    media_type = "text/xml"
    invalid = "ValidationError"
    unsigned = "MissingAuthenticationToken"
    unknown = "InvalidAction"

    def asked(self, headers: Mapping[str, str], body: bytes) -> Asked | None:
        """See `Codec`."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        fields = reading.form(body) if kind == FORM else {}
        return Asked(Address("query", fields.get("Version", "")), fields.get("Action", ""), fields)

    def parameters(self, operation: OperationModel, content: Any) -> dict[str, Any]:
        """See `Codec`."""
        return reading.query(operation.input_shape, content)

    def answer(self, operation: OperationModel, result: Mapping[str, Any], request_id: str) -> bytes:
        """See `Codec`."""
        return writing.query(operation, result, request_id)

    def fault(self, fault: Fault, model: ServiceModel | None, status: int, request_id: str) -> bytes:
        """See `Codec`."""
        return writing.query_fault(fault, model, status, request_id)


QUERY_CODES: Mapping[str, str] = {
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
"""What the query protocol calls errors of signatures. AWS, "Common Errors" of the STS and KMS API references."""

CODECS: tuple[Codec, ...] = (Json11(), Query())
"""In the order in which they are asked."""


def codec_of(headers: Mapping[str, str]) -> Codec:
    """The format in which an error is told where the body was not read."""
    return CODECS[0] if "x-amz-target" in headers else CODECS[-1]
