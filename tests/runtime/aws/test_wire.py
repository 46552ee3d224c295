"""What botocore's clients send is read, and what is answered they read: against botocore's own code, from its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.model import OperationModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings, strategies
from tests.runtime.aws import shapes

from sixfold.gateway.aws import codecs, faults, models

SERVICES = ("kms", "sts", "iam")
OPERATIONS = [(name, operation) for name in SERVICES for operation in models.service(name).operation_names]
CHECKED = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


def sent(operation: OperationModel, parameters: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Headers and body as botocore's client makes them."""
    protocol = operation.service_model.metadata["protocol"]
    request = create_serializer(protocol, include_validation=False).serialize_to_request(parameters, operation)
    body = request["body"]
    encoded = body if isinstance(body, bytes) else urlencode(body).encode()
    return {name.lower(): value for name, value in request["headers"].items()}, encoded


def heard(operation: OperationModel, status: int, body: bytes) -> dict[str, Any]:
    """What botocore's client makes of an answer."""
    parser = create_parser(operation.service_model.metadata["protocol"])
    answer = {"status_code": status, "headers": {}, "body": body, "context": {"operation_name": operation.name}}
    parsed: dict[str, Any] = parser.parse(answer, operation.output_shape)
    return parsed


def codec_of(headers: Mapping[str, str], body: bytes) -> tuple[codecs.Codec, codecs.Asked]:
    """The first codec that takes the request."""
    for codec in codecs.CODECS:
        asked = codec.asked(headers, body)
        if asked is not None:
            return codec, asked
    raise AssertionError("no codec takes it")


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_each_call_of_a_client_is_read_as_it_was_meant(service: str, name: str) -> None:
    """Address, operation and every parameter arrive; an empty map or list of a query is one that was not given."""
    operation = models.service(service).operation_model(name)

    @CHECKED
    @given(shapes.values(operation.input_shape) if operation.input_shape else strategies.just({}))
    def check(parameters: dict[str, Any]) -> None:
        headers, body = sent(operation, parameters)
        codec, asked = codec_of(headers, body)
        assert models.Services(SERVICES).operation(asked.address, asked.operation) is not None
        assert asked.operation == name
        found = codec.parameters(operation, asked.content)
        if asked.address.protocol == "query":
            assert bare(found) == bare(parameters)
        else:
            assert found == parameters

    check()


def bare(value: Any) -> Any:
    """`value` without empty members: the query protocol cannot tell them from those that were not given."""
    if isinstance(value, dict):
        return {key: bare(each) for key, each in value.items() if bare(each) not in ({}, [])}
    if isinstance(value, list):
        return [bare(each) for each in value if bare(each) not in ({}, [])]
    return value


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_each_answer_is_read_by_a_client_as_it_was_meant(service: str, name: str) -> None:
    """Every member of the result arrives."""
    operation = models.service(service).operation_model(name)

    @CHECKED
    @given(shapes.values(operation.output_shape) if operation.output_shape else strategies.just({}))
    def check(result: dict[str, Any]) -> None:
        headers, body = sent(operation, {})
        codec, _ = codec_of(headers, body)
        found = heard(operation, 200, codec.answer(operation, result, "an-id"))
        found.pop("ResponseMetadata")
        assert bare(found) == bare(result)

    check()


@pytest.mark.parametrize("service", SERVICES)
def test_each_error_of_a_service_arrives_as_the_class_that_its_clients_know(service: str) -> None:
    """Code, message and status, those of the model."""
    model = models.service(service)
    operation = model.operation_model(model.operation_names[0])
    headers, body = sent(operation, {})
    codec, _ = codec_of(headers, body)
    for shape in model.error_shapes:
        fault = faults.Fault(shape.error_code, "why <it> failed")
        status = faults.status_of(fault, model)
        assert 400 <= status < 600
        found = heard(operation, status, codec.fault(fault, model, status, "an-id"))
        assert model.shape_for_error_code(found["Error"]["Code"]) is shape
        assert found["Error"]["Message"] == "why <it> failed"
