"""Identity's routes on the gateway: AWS's `POST /`, and the operator's session for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixfold.gateway import Gateway, Route
from sixfold_functions.identity import aws
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.sts import Sts


def routes(gateway: Gateway) -> Sequence[Route]:
    """The routes; `POST /` decides for each operation who may call it."""
    sts = Sts(gateway.process)
    # The first start makes the root key and says where it lies; a sealed one is opened, or found to stay closed, now.
    gateway.on_start.append(sts.open)
    gateway.on_stop.append(sts.close)

    async def operator_session(request: Request) -> Response:
        try:
            credentials = await sts.operator_session(request.scope["principal"].name)
        except Refusal as refusal:
            return JSONResponse({"error": str(refusal)}, status_code=refusal.status)
        return JSONResponse(
            {
                "Version": 1,
                "AccessKeyId": credentials.access_key_id,
                "SecretAccessKey": credentials.secret_access_key,
                "SessionToken": credentials.session_token,
                "Expiration": credentials.expires_at_s,
            },
            headers={"Cache-Control": "no-store"},
        )

    return [
        Route(path="/", endpoint=aws.endpoint(sts.operations(), sts.refused), methods=("POST",), public=True),
        Route(path="/identity/operator-session", endpoint=operator_session, methods=("POST",)),
    ]
