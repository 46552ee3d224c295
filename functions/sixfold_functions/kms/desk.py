"""The desk at which requests are decided: opened vault, keys, issuers and roles of one process.

It brings what `core.py` decides with: who the session is, what its role permits now, which keys there are.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from sixfold import clock as clocks
from sixfold.bus import murmur2
from sixfold.follower import Follower
from sixfold.process import Process
from sixfold_events.kms import KeyRequested
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import core
from sixfold_functions.kms.keyring import Keyring
from sixfold_functions.kms.root import RootKeyError
from sixfold_functions.kms.topics import REQUEST_PARTITIONS
from sixfold_functions.kms.vault import Vault, open_vault

FRESH_S = identity.FRESH_S
"""Keys may be known this late; a refusal is looked at again with all that there is."""


class Party(NamedTuple):
    """Who asks."""

    session: identity.Session
    secret: str

    def __repr__(self) -> str:
        return f"Party({self.session.access_key_id})"


class Desk:
    """One process's view of everything that a decision rests on."""

    def __init__(self, process: Process, vault: Vault, directory: identity.OpenDirectory) -> None:
        self.ring = Keyring()
        self._vault = vault
        self._directory = directory
        self._keys = Follower(process, "kms.keys", self.ring.apply)
        self._clock = process.clock

    def party(self, request: KeyRequested) -> Party:
        """Whose session the request names. Raises core.Refused."""
        try:
            keys = identity.SessionKeys(*self._vault.session_keys())
            session = identity.open_token(keys, request.access_key_id, request.session_token)
        except RootKeyError as error:
            raise core.Refused("KMSInternalException", "The key service cannot open its root key.") from error
        except identity.Refusal as refusal:
            raise core.Refused(refusal.code, refusal.message) from refusal
        return Party(session, identity.secret(keys, session.access_key_id))

    def caller(self, party: Party, request: KeyRequested) -> core.Caller:
        """The party, once the request proves to be its own and fresh. Raises core.Refused."""
        session = party.session
        caller = core.Caller(
            arn=identity.session_arn(session),
            kind="Root" if session.kind == identity.ROOT else "AssumedRole",
            role=session.role,
            issuer=session.issuer,
            subject=session.subject,
            issued_at_s=session.issued_at_s,
            secret=party.secret,
            permits=lambda action, resource, context: identity.permits(
                self._directory.directory.roles.get(session.role), session, action, resource, context
            ),
        )
        core.check_signature(request, caller)
        return caller

    def check_time(self, party: Party, request: KeyRequested) -> None:
        """Whether session and signature are still good. Raises core.Refused."""
        try:
            identity.check_time(party.session, self._clock.now())
        except identity.Refusal as refusal:
            raise core.Refused(refusal.code, refusal.message) from refusal
        core.check_fresh(request, clocks.now_ms(self._clock))

    async def perform(self, request: KeyRequested, caller: core.Caller, *, alias_taken: bool) -> core.Outcome:
        """Do what is asked. Raises core.Refused, never on the ground of keys or roles that are not the newest."""
        await self._catch_up(FRESH_S)
        try:
            return core.perform(request, caller, self._service(alias_taken))
        except core.Refused:
            await self._catch_up(0.0)
            return core.perform(request, caller, self._service(alias_taken))

    def _service(self, alias_taken: bool) -> core.Service:
        return core.Service(
            ring=self.ring,
            domain=self._vault.domain(),
            entropy=os.urandom,
            now_ms=clocks.now_ms(self._clock),
            alias_taken=alias_taken,
        )

    async def _catch_up(self, age_s_max: float) -> None:
        await self._directory.current(age_s_max=age_s_max)
        await self._keys.catch_up(age_s_max=age_s_max)

    async def close(self) -> None:
        """Stop following the keys."""
        await self._keys.close()


def check_lane(request: KeyRequested, key: bytes | None, partition: int) -> None:
    """Whether the request came where it belongs: elsewhere, answered requests are not remembered. Raises Refused."""
    lane = core.lane_of(request.operation, request.access_key_id)
    expected = murmur2.partition_for(lane.encode(), REQUEST_PARTITIONS)
    if request.lane != lane or key != lane.encode() or partition != expected:
        raise core.Refused(
            "ValidationException", f"the request is in partition {partition}, expected lane {lane[:64]} in {expected}"
        )


async def open_desk(process: Process) -> Desk:
    """For `ctx.resource`."""
    vault = await process.resources.get(open_vault)
    return Desk(process, vault, await process.resources.get(identity.open_directory))
