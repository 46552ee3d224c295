"""Handlers written for AWS Lambda: nothing in this file knows where it runs."""

import base64
import json
import os

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord

processor = BatchProcessor(event_type=EventType.Kafka)


def handler(event, context):  # type: ignore[no-untyped-def]
    """As AWS's samples do it: decode each value, go on after a failure, name what failed."""
    failures = []
    for partition, records in event["records"].items():
        for record in records:
            try:
                payload = json.loads(base64.b64decode(record["value"]))
                with open(payload["out"], "a") as out:
                    out.write(json.dumps({"n": payload["n"], "pid": os.getpid(), "id": context.aws_request_id}) + "\n")
                if payload["n"] < 0:
                    raise ValueError("below nothing")
            except ValueError:
                failures.append({"itemIdentifier": {"partition": partition, "offset": record["offset"]}})
    return {"batchItemFailures": failures}


def record_handler(record: KafkaEventRecord) -> None:
    """One record, as Powertools gives it."""
    payload = json.loads(record.decoded_value)
    if payload["n"] < 0:
        raise ValueError("below nothing")
    with open(payload["out"], "a") as out:
        out.write(f"{payload['n']} {record.decoded_headers.get('kind', b'').decode()}\n")


def powertools(event, context):  # type: ignore[no-untyped-def]
    """As Powertools' documentation has it."""
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
