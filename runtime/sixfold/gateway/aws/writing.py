"""Results and errors as bodies of the JSON and of the query protocol, in the shapes that clients read.

A result is a dictionary with the members that botocore's documentation names: bytes, aware datetimes, numbers, text.
Sources: Smithy's awsJson1_1 and awsQuery protocols.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from sixfold.gateway.aws.faults import Fault

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def json(shape: StructureShape | None, result: Mapping[str, Any]) -> bytes:
    """The body of a JSON answer; members that are None are left out."""
    return msgspec.json.encode({} if shape is None else _json_structure(shape, result))


def _json_structure(shape: StructureShape, value: Mapping[str, Any]) -> dict[str, Any]:
    members = shape.members
    return {name: _json_value(members[name], each) for name, each in value.items() if each is not None}


def _json_value(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return _json_structure(shape, value)
    if isinstance(shape, ListShape):
        return [_json_value(shape.member, each) for each in value]
    if isinstance(shape, MapShape):
        return {key: _json_value(shape.value, each) for key, each in value.items()}
    if shape.type_name == "blob":
        return base64.b64encode(value).decode("ascii")
    if shape.type_name == "timestamp":
        return value.timestamp()
    return value


def json_fault(fault: Fault, model: ServiceModel | None) -> bytes:
    """The body of an error: its type, its message, and the members of its own."""
    shape = None if model is None else model.shape_for_error_code(fault.code)
    members: dict[str, Any] = {"__type": fault.code if shape is None else shape.name}
    told = "Message" if shape is not None and "Message" in shape.members else "message"
    if fault.message or shape is None:
        members[told] = fault.message
    if shape is not None:
        members.update(_json_structure(shape, fault.members))
    return msgspec.json.encode(members)


def query(operation: OperationModel, result: Mapping[str, Any], request_id: str) -> bytes:
    """The body of an answer of the query protocol."""
    name, shape = operation.name, operation.output_shape
    inner = ""
    if shape is not None:
        wrapper = str(shape.serialization.get("resultWrapper", f"{name}Result"))
        inner = f"<{wrapper}>{_xml_structure(shape, result)}</{wrapper}>"
    space = operation.service_model.metadata["xmlNamespace"]
    return (
        f'<{name}Response xmlns="{space}">{inner}'
        f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()


def query_fault(fault: Fault, model: ServiceModel | None, status: int, request_id: str) -> bytes:
    """The body of an error of the query protocol."""
    shape = None if model is None else model.shape_for_error_code(fault.code)
    told = "" if shape is None else _xml_structure(shape, fault.members)
    space = "" if model is None else f' xmlns="{model.metadata["xmlNamespace"]}"'
    return (
        f"<ErrorResponse{space}><Error><Type>{'Receiver' if status >= 500 else 'Sender'}</Type>"
        f"<Code>{escape(fault.code)}</Code><Message>{escape(_printable(fault.message))}</Message>{told}</Error>"
        f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    ).encode()


def _xml_structure(shape: StructureShape, value: Mapping[str, Any]) -> str:
    members = shape.members
    return "".join(
        part
        for name, each in value.items()
        if each is not None
        for part in _xml_member(members[name], str(members[name].serialization.get("name", name)), each)
    )


def _xml_member(shape: Shape, name: str, value: Any) -> Iterator[str]:
    """The elements of a member; a flattened list has one for each of its members."""
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        told = str(shape.member.serialization.get("name", name))
        for each in value:
            yield f"<{told}>{_xml_value(shape.member, each)}</{told}>"
    elif isinstance(shape, MapShape) and shape.serialization.get("flattened"):
        for entry in _xml_entries(shape, value):
            yield f"<{name}>{entry}</{name}>"
    else:
        yield f"<{name}>{_xml_value(shape, value)}</{name}>"


def _xml_entries(shape: MapShape, value: Mapping[str, Any]) -> Iterator[str]:
    key_name, value_name = (
        str(each.serialization.get("name", name)) for each, name in ((shape.key, "key"), (shape.value, "value"))
    )
    for key, each in value.items():
        yield (
            f"<{key_name}>{_xml_value(shape.key, key)}</{key_name}>"
            f"<{value_name}>{_xml_value(shape.value, each)}</{value_name}>"
        )


def _xml_value(shape: Shape, value: Any) -> str:
    if isinstance(shape, StructureShape):
        return _xml_structure(shape, value)
    if isinstance(shape, ListShape):
        name = str(shape.member.serialization.get("name", "member"))
        return "".join(f"<{name}>{_xml_value(shape.member, each)}</{name}>" for each in value)
    if isinstance(shape, MapShape):
        return "".join(f"<entry>{entry}</entry>" for entry in _xml_entries(shape, value))
    if shape.type_name == "blob":
        return base64.b64encode(value).decode("ascii")
    if shape.type_name == "timestamp":
        return _moment(value)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return escape(_printable(str(value)))


def _moment(value: datetime.datetime) -> str:
    return f"{value.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold (its section 2.2)."""
    return _NO_XML.sub(" ", text)
