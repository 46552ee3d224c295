"""AWS Lambda's shapes: handlers `handler(event, context)` unchanged, its Invoke API, its event source mappings.

`declaring.py` makes an ordinary `Function` of a handler; `events.py`, `answers.py` and `context.py` are what it is given
and what its answer means. `invocations.py` is the Invoke API. DESIGN.md beside this has the promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sixfold.lambdas.declaring import LambdaFunction, lambda_function

__all__ = ["LambdaFunction", "lambda_function"]


def __getattr__(name: str) -> Any:
    """What takes long to import comes at first use, so that the command line starts fast."""
    if name in __all__:
        from sixfold.lambdas import declaring

        return getattr(declaring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
