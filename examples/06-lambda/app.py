"""A handler written for AWS Lambda: it imports nothing of ours, and runs here as it runs there."""

import base64
import json


def handler(event, context):
    """Check orders; those that make no sense are named in the answer, and come again."""
    failures = []
    for partition, records in event["records"].items():
        for record in records:
            try:
                order = json.loads(base64.b64decode(record["value"]))
                if order["amount_cents"] < 0:
                    raise ValueError(f"an order over {order['amount_cents']} cents")
                print(f"{context.function_name} took {order['order_id']}")
            except (KeyError, ValueError) as error:
                print(f"{partition} at {record['offset']}: {error!r}")
                failures.append({"itemIdentifier": {"partition": partition, "offset": record["offset"]}})
                break  # what lies behind it in its partition comes again with it
    return {"batchItemFailures": failures}
