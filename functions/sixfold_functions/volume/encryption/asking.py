"""A client of the key service in the name of a role, or of the operator; what it raises says whether to try again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from sixfold import errors, system
from sixfold.bus import port
from sixfold.gateway import credentials
from sixfold.process import Process
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import client as kms
from sixfold_functions.volume.encryption.custody import KeyRefusedError, KeyServiceAwayError
from sixfold_functions.volume.encryption.settings import KeySettings

ANSWER_S = 10.0
"""The key service answers in milliseconds; after this long it is away."""
SESSION_S = 900
"""The shortest there is: each time that keys are asked for has a session of its own."""
_AWAY = ("KMSInternalException", "ThrottlingException", "InternalFailure", "ServiceUnavailable")
"""Refusals that say nothing of the request."""


@contextlib.asynccontextmanager
async def client(process: Process, settings: KeySettings, label: str) -> AsyncIterator[kms.KmsClient]:
    """For one question or some. In the body, too, raises KeyServiceAwayError and KeyRefusedError."""
    try:
        session = await _session(process, settings, label)
        async with kms.KmsClient(process.require_bus(), session, clock=process.clock, timeout_s=ANSWER_S) as made:
            yield made
    except (kms.NoAnswerError, port.BusError, httpx.TransportError) as error:
        raise _away(label, error) from error
    except (kms.KmsError, identity.StsError) as error:
        if error.code in _AWAY or error.code.startswith("HTTP 5"):
            raise _away(label, error) from error
        raise KeyRefusedError(
            f"{label}: the key service gives it no data key ({error}); make the key (sixfold kms create-key --alias "
            "alias/volume), or let the role use it (kms:GenerateDataKey, kms:Decrypt)"
        ) from error
    except errors.UsageError as error:
        raise KeyRefusedError(f"{label}: its data key cannot be asked for: {error}") from error


def _away(label: str, error: Exception) -> KeyServiceAwayError:
    return KeyServiceAwayError(
        f"{label}: the key service does not answer ({error or type(error).__name__}); its functions and the gateway "
        "must run: see sixfold status"
    )


async def _session(process: Process, settings: KeySettings, label: str) -> identity.Credentials:
    recorded = system.read(process.data_dir)
    url = settings.gateway_url or (recorded.gateway_url if recorded is not None else "")
    if not url:
        raise KeyServiceAwayError(
            f"{label}: no gateway runs on {process.data_dir}, and its data key is asked for in a session that one issues; "
            "start it with sixfold up, or name it: SIXFOLD_VOLUME_GATEWAY_URL=http://HOST:6480"
        )
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=ANSWER_S) as http:
        if settings.token_file is not None:
            token = _token(settings, label)
            return await identity.assume_role(http, role=settings.role, token=token, duration_s=SESSION_S)
        bearer = credentials.token(process.data_dir / credentials.FOLDER / credentials.BOOTSTRAP)
        http.headers["Authorization"] = f"Bearer {bearer}"
        return await identity.operator_credentials(http)


def _token(settings: KeySettings, label: str) -> str:
    assert settings.token_file is not None
    try:
        return settings.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRefusedError(
            f"{label}: the token {settings.token_file} cannot be read ({error}); --kms-token-file names the web identity "
            "token of the role that asks for data keys"
        ) from error
