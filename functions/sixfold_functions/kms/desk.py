"""The desk at which requests are decided: opened vault, keys, issuers and roles of one process.

It brings what `core.py` decides with: who the session is, what its role permits now, which keys there are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sixfold import clock as clocks
from sixfold.bus import murmur2
from sixfold.follower import Follower
from sixfold.process import Process
from sixfold_events.kms import KeyRequested
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import asymmetric, core, messages
from sixfold_functions.kms.deciding import Call, Caller, Change, Outcome, Refused, Service, check_region
from sixfold_functions.kms.keyring import Keyring
from sixfold_functions.kms.operations.table import OPERATIONS
from sixfold_functions.kms.root import RootKeyError
from sixfold_functions.kms.topics import REQUEST_PARTITIONS
from sixfold_functions.kms.vault import Vault, open_vault

FRESH_S = identity.FRESH_S
"""Keys may be known this late; a refusal is looked at again with all that there is."""


OPERATOR_SESSION_S = 900
"""Of a call in the operator's name, as AWS's shortest."""

Generate = Callable[[str], bytes]


class _NeedsKeyError(Exception):
    """A decision needs a new key of a kind that takes long to make."""

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.spec = spec


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
        self._loader = asymmetric.Loader()
        self._vault = vault
        self._directory = directory
        self._keys = Follower(process, "kms.keys", self.ring.apply)
        self._clock = process.clock

    def party(self, request: KeyRequested) -> Party:
        """Whose session the request names. Raises Refused."""
        keys = self._session_keys()
        try:
            session = identity.open_token(keys, request.access_key_id, request.session_token)
        except identity.Refusal as refusal:
            raise Refused(refusal.code, refusal.message) from refusal
        return Party(session, identity.secret(keys, session.access_key_id))

    def operator(self, name: str) -> Party:
        """The operator, for one call that this process makes in its name. Raises Refused."""
        now_s = int(self._clock.now())
        session = identity.Session(
            access_key_id=identity.access_key_id(os.urandom),
            kind=identity.ROOT,
            role="",
            name=name,
            issued_at_s=now_s,
            expires_at_s=now_s + OPERATOR_SESSION_S,
        )
        return self.party_of(session)

    def party_of(self, session: identity.Session) -> Party:
        """A session with its secret. Raises Refused."""
        return Party(session, identity.secret(self._session_keys(), session.access_key_id))

    def signed(self, request: KeyRequested, party: Party) -> KeyRequested:
        """`request` in the name of a party. Raises Refused."""
        credentials = identity.mint(self._session_keys(), party.session, os.urandom)
        named = msgspec.structs.replace(
            request,
            access_key_id=credentials.access_key_id,
            session_token=credentials.session_token,
            signed_at_ms=clocks.now_ms(self._clock),
        )
        return msgspec.structs.replace(named, signature=messages.sign(party.secret, named))

    def _session_keys(self) -> identity.SessionKeys:
        try:
            return identity.SessionKeys(*self._vault.session_keys())
        except RootKeyError as error:
            raise Refused("KMSInternalException", "The key service cannot open its root key.") from error

    def caller(self, party: Party, request: KeyRequested) -> Caller:
        """The party, once the request proves to be its own. Raises Refused."""
        caller = self.caller_of(party)
        core.check_signature(request, caller)
        return caller

    def caller_of(self, party: Party) -> Caller:
        """Who a session stands for, and what it may do now."""
        session = party.session
        return Caller(
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
            context=identity.principal_context(session),
            access_key_id=session.access_key_id,
        )

    def check_time(self, party: Party, request: KeyRequested) -> None:
        """Whether session and signature are still good. Raises Refused."""
        try:
            identity.check_time(party.session, self._clock.now())
        except identity.Refusal as refusal:
            raise Refused(refusal.code, refusal.message) from refusal
        core.check_fresh(request, clocks.now_ms(self._clock))

    async def perform(
        self,
        request: KeyRequested,
        parameters: Mapping[str, Any],
        caller: Caller,
        recent: Sequence[Change] = (),
    ) -> Outcome:
        """Do what is asked; `recent` are changes that may not be in the log yet. Raises Refused."""

        def decide(generate: Generate) -> Outcome:
            for change in recent:
                self.ring.apply(change)
            return core.perform(request, parameters, caller, self._service(generate))

        return await self._decided(decide)

    async def answer(self, operation: str, parameters: Mapping[str, Any], region: str, caller: Caller) -> Outcome:
        """Carry out an operation that changes nothing. Raises Refused."""

        check_region(region)

        def decide(generate: Generate) -> Outcome:
            call = Call(operation, parameters, self.ring.of(region), caller, self._service(generate))
            return OPERATIONS[operation].run(call)

        return await self._decided(decide)

    async def _decided(self, decide: Callable[[Generate], Outcome]) -> Outcome:
        """What is decided, and refused never on the ground of keys or roles that are not the newest."""
        await self.catch_up(FRESH_S)
        try:
            return await self._made(decide)
        except Refused:
            await self.catch_up(0.0)
            return await self._made(decide)

    @staticmethod
    async def _made(decide: Callable[[Generate], Outcome]) -> Outcome:
        """Decide; what takes long is done in a thread, once it is known that the caller may have it."""
        ready: list[bytes] = []

        def generate(spec: str) -> bytes:
            if not spec.startswith("RSA_"):
                return asymmetric.generate(spec)
            if not ready:
                raise _NeedsKeyError(spec)
            return ready.pop()

        while True:
            try:
                return decide(generate)
            except _NeedsKeyError as needed:
                ready.append(await asyncio.to_thread(asymmetric.generate, needed.spec))

    def _service(self, generate: Generate) -> Service:
        try:
            domain = self._vault.domain()
        except RootKeyError as error:
            raise Refused("KMSInternalException", "The key service cannot open its root key.") from error
        return Service(
            ring=self.ring,
            domain=domain,
            entropy=os.urandom,
            now_ms=clocks.now_ms(self._clock),
            loader=self._loader,
            generate=generate,
        )

    async def catch_up(self, age_s_max: float) -> None:
        """Know all that was in the log so long ago."""
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
        raise Refused(
            "ValidationException", f"the request is in partition {partition}, expected lane {lane[:64]} in {expected}"
        )


async def open_desk(process: Process) -> Desk:
    """For `ctx.resource`."""
    vault = await process.resources.get(open_vault)
    return Desk(process, vault, await process.resources.get(identity.open_directory))
