"""Identity on the gateway: AWS's security token service, and the operator's session for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixfold.gateway import Gateway, Route
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.sts import Sts


def routes(gateway: Gateway) -> Sequence[Route]:
    """The routes; adds what AWS's clients may call."""
    sts = Sts(gateway.process)
    # The first start makes the root key and says where it lies; a sealed one is opened, or found to stay closed, now.
    gateway.on_start.append(sts.open)
    gateway.on_stop.append(sts.close)
    gateway.aws.append(sts.service())
    gateway.signers.append(sts.signer)
    gateway.on_unanswered.append(sts.refused)

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
        Route(path="/identity/operator-session", endpoint=operator_session, methods=("POST",)),
    ]
