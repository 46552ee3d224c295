"""Handlers in the shape of AWS Lambda, unchanged: `handler(event, context)` with the self-managed Kafka event.

`declaring.py` makes an ordinary `Function` of one; `events.py`, `answers.py` and `context.py` are what it is given and
what its answer means. DESIGN.md beside this has the promises.
"""

from __future__ import annotations

from sixfold.lambdas.declaring import LambdaFunction, lambda_function

__all__ = ["LambdaFunction", "lambda_function"]
